r"""Calibration of the guide around given data: simulation-based calibration with their posterior as the prior.

    z_0 ~ q(z|x),   x' ~ p(x'|z_0),   z_1, ..., z_L ~ q(z|x')  with weights  w_l = q(z_l|x) / p(z_l)

Where q(.|x') is the posterior under the prior p(z), its draws under these weights are draws of the posterior under
the prior q(.|x), and the rank of z_0 among them is uniform: posterior SBC (Säilynoja, Schmitt, Bürkner & Vehtari
2025, https://arxiv.org/abs/2502.03279), without a fit to x and x' together. Ordinary calibration is an average over
all that the model simulates, where faults of two kinds of data may cancel; this is one over data like x. q(.|x)
serves as a prior alone, right or wrong. The answer is as good as the weights are, whose effective number is told.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import xarray as xr
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.calibration.calibration import LOG_LIKELIHOOD, ranked
from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors, joined, posteriors_of
from ppl_vae.diagnostics.calibration.verdict import check_calibration
from ppl_vae.diagnostics.given import admitted, require_own_posterior
from ppl_vae.diagnostics.verdict import Verdict, require_table
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import data_per_chunk, evaluating
from ppl_vae.inference.pair.joint import log_guide
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.simulation import simulate
from ppl_vae.randomness import derived_seed

STREAM = 66
LOG_LOCAL_PRIOR = "log q(z|x)"
# Below so many effective draws a rank says more of the weights than of the guide.
LEAST_EFFECTIVE = 25


def run_posterior_calibration(
    pair: PairLike, x: Data, num_simulations: int = 300, num_samples: int = 1000, *, seed: int = 0
) -> xr.Dataset:
    """Rank draws of the guide at given data among those at data that are simulated from them.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs. The model must be one that
            can be drawn from, and the guide must have a density at given points.
        x: the data around which to look [N, *event_shape], one or a few alike; with covariates a tuple or a dict.
            Each simulated datum starts from one of them, all in turn.
        num_simulations: S.
        num_samples: L.
        seed: of simulations, draws and ties; torch's global generators are left as they were.

    Returns:
        A Dataset as that of ``run_calibration``, with the effective number of draws of every simulation ``ess``:
        1 / sum of the squares of normalised weights. ``plot_calibration`` draws it.

    Raises:
        ModelError: the pair is refused, its model cannot be drawn from, the guide has no density at given points,
            or a latent site is global.
        DataError: x is empty, or holds values that the model could never draw.

    >>> import ppl_vae as pv
    >>> lg = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0, guide="exact")
    >>> numbers = run_posterior_calibration(lg, torch.ones(1, 3), num_simulations=300, num_samples=200)
    >>> check_posterior_calibration(numbers).level
    'good'
    """
    size, num_samples = integer("num_simulations", num_simulations, least=2), integer("num_samples", num_samples)
    given = admitted(pair, x)
    require_own_posterior(given, derived_seed(seed, STREAM, 0), "run_posterior_calibration")
    parts, weights = [], []
    for number, rows in enumerate(given[given.lenders(size)].split(data_per_chunk(given.x, 1 + num_samples))):
        own = derived_seed(seed, STREAM, 1, number)
        with torch.no_grad(), evaluating(*rows.programs, seed=own, device=rows.x.device):
            posteriors, log_local = _one_pass(rows, num_samples, seed)
        parts.append(posteriors)
        weights.append(log_local)
    posteriors, log_local = joined(parts), torch.cat(weights, 1)
    share = torch.softmax((log_local - posteriors.log_prior)[1:].double(), 0)
    generator = torch.Generator().manual_seed(derived_seed(seed, STREAM, 2))
    dimensions = zip(posteriors.dimension_names, posteriors.dimensions.unbind(-1), strict=True)
    quantities = [*dimensions, (LOG_LIKELIHOOD, posteriors.log_likelihood), (LOG_LOCAL_PRIOR, log_local)]
    attributes = {"num_draws": num_samples, "importance_weighted": 0, "seed": seed, "posterior": 1}
    table = ranked(quantities, len(posteriors.dimension_names), share, generator, attributes)
    return table.assign(ess=("simulation", (1 / share.square().sum(0)).numpy()))


def check_posterior_calibration(numbers: xr.Dataset) -> Verdict:
    """Judge the ranks around given data; "unknown" where half of them rest on fewer than 25 effective draws.

    Raises:
        DataError: the numbers are none of ``run_posterior_calibration``, or some are NaN or infinite.
    """
    require_table("calibration", numbers, "run_posterior_calibration", ("pit", "p_value", "ess"), ("simulation",))
    verdict = replace(check_calibration(numbers), diagnostic="Calibration around given data")
    effective = float(numbers["ess"].median())
    if effective >= LEAST_EFFECTIVE:
        return verdict
    return replace(
        verdict,
        level="unknown",
        words=f"Half of the ranks rest on {effective:.0f} effective draws or fewer, which is too few to judge by.",
        advice="Take more draws: num_samples.",
    )


def _one_pass(rows: Conditioned, num_draws: int, seed: int) -> tuple[SimulatedPosteriors, Tensor]:
    """Simulate from the data; with it log q(z|x) at all latent values [1 + L, S]."""
    model, guide = rows.programs
    terms = run_terms(model, guide, rows.batch, {}, 1)
    truth = simulate(model, *rows.batch, values={name: site.value[0] for name, site in terms.sites.items()})
    posteriors = posteriors_of(rows, truth, num_draws, seed)
    posteriors.require_density()
    values = {name: value.to(rows.x.device) for name, value in posteriors.values.items()}
    return posteriors, log_guide(rows.guide, rows.x, values).cpu()
