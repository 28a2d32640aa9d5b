r"""The guide fitted anew to each of many simulated data sets, for calibration of the global sites.

    g_0, z_0 ~ p(g, z),   x_1..x_N ~ p(x | z_0, g_0),   q_s fitted to x,   g_1, ..., g_L ~ q_s(g)

An amortised guide of each datum is asked about simulated data as it stands. A guide of global sites has its
parameters from one data set, so that calibration is that of the procedure that fits it (Talts, Betancourt, Simpson,
Vehtari & Gelman 2018, https://arxiv.org/abs/1804.06788; Yao, Vehtari, Simpson & Gelman 2018, sec. 3,
https://arxiv.org/abs/1802.02538). The fits are made one after another, not by ``fit_many``: Pyro's autoguides of
one kind name their parameters alike in its one store, where those of several data sets cannot stand at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import pyro
import torch
from pyro import poutine
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors
from ppl_vae.diagnostics.given import admitted
from ppl_vae.errors import ModelError
from ppl_vae.inference.fitting.fit import fit
from ppl_vae.inference.pair.admission import together
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.given_values import Given
from ppl_vae.inference.pair.learned import PLAIN, recall
from ppl_vae.inference.pair.pair import Pair, PairLike, as_pair
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.simulation import simulate
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.inference.pair.trace import owner
from ppl_vae.inference.pair.whole_model import run_whole
from ppl_vae.progress import advance, watched
from ppl_vae.randomness import derived_seed

STREAM = 27


def simulate_refits(
    make_pair: Callable[[], PairLike],
    x: Data,
    num_simulations: int = 100,
    num_samples: int = 99,
    *,
    options: Mapping[str, object] | None = None,
    progress: bool | None = None,
    seed: int = 0,
) -> SimulatedPosteriors:
    """Simulate data sets, fit a new guide to each, and draw its global sites; ``run_calibration`` ranks the truth.

    Args:
        make_pair: makes a pair whose guide is not fitted yet. The model's own parameters are held as they are made,
            since data are simulated with them.
        x: data [N, *event_shape] for their number, shape, missing coordinates and covariates, which every simulated
            set has too.
        num_simulations: S data sets, and fits.
        num_samples: L draws of every fitted guide.
        options: of ``fit``: elbo, epochs, lr, and so on.
        progress: show a progress bar; by default where a terminal or a notebook shows it to somebody.
        seed: of simulations, fits and draws; torch's global generators and Pyro's parameters are left as they were.

    Returns:
        The simulated values of the global sites, each with the draws of the guide that was fitted to its data.
        log_likelihood and log_prior are those of the whole set, at global and local sites together.

    Raises:
        ModelError: the pair is refused, has no global sites, or its model has a ``pyro.param``; it is named.
    """
    integer("num_simulations", num_simulations, least=2)
    integer("num_samples", num_samples)
    parts = []
    with watched(num_simulations, "fit", progress):
        for number in range(num_simulations):
            with pyro.get_param_store().scope():
                parts.append(_one_fit(make_pair, x, num_samples, options or {}, derived_seed(seed, STREAM, number)))
            advance(1)
    values = {name: torch.stack([part.values[name] for part in parts], 1) for name in parts[0].values}
    return SimulatedPosteriors(
        x=torch.stack([part.x for part in parts]),
        values=values,
        log_likelihood=torch.stack([part.log_likelihood for part in parts], 1),
        log_prior=torch.stack([part.log_prior for part in parts], 1),
        log_guide=None,
        why_no_density="the guides that were fitted to simulated data sets are gone",
        device=parts[0].device,
        seed=seed,
    )


def _one_fit(
    make_pair: Callable[[], PairLike], x: Data, num_samples: int, options: Mapping[str, object], seed: int
) -> SimulatedPosteriors:
    """One data set and one fit: values [1 + L, *event], densities [1 + L]."""
    given = admitted(make_pair(), x)
    with torch.no_grad(), evaluating(*given.programs, seed=derived_seed(seed, 0), device=given.x.device):
        _require_no_params(given)
        truth = simulate(given.programs[0], *given.batch)
    drawn = given.with_batch(tuple(part.detach() for part in truth.batch))
    with _held(as_pair(given.programs)) as pair:
        fit(pair, together(drawn.batch), seed=derived_seed(seed, 1), progress=False, **options)  # type: ignore[arg-type]
    with torch.no_grad(), evaluating(*drawn.programs, seed=derived_seed(seed, 2), device=drawn.x.device):
        terms = run_terms(*drawn.programs, drawn.batch, {}, max(2, num_samples), both_levels=True)
        if terms.whole is None or not terms.whole.sites:
            raise ModelError("the model has no global sites: simulate_posteriors needs no fit of its local guide")
        return _with_truth(drawn, terms, truth.values, num_samples, seed)


def _with_truth(
    drawn: Conditioned, terms: Terms, truth: Mapping[str, Tensor], num_samples: int, seed: int
) -> SimulatedPosteriors:
    """The truth and the guide's draws as particles of one run of the model, whose densities are told."""
    assert terms.whole is not None
    sites = {**terms.sites, **terms.whole.sites}
    values = {}
    for name, value in truth.items():
        draws = sites[name].read[:num_samples]
        values[name] = torch.cat([value.reshape(1, *draws.shape[1:]), draws])
    known = recall(*drawn.programs) or PLAIN
    run = run_whole(drawn.model, drawn.x, 1 + num_samples, Given(values), known.nesting, known.group_plates)
    whole = {name: values[name] for name in run.latent if name in run.levels.whole}
    return SimulatedPosteriors(
        x=drawn.x.cpu(),
        values={name: value.squeeze(1).cpu() for name, value in run.ordered(whole).items()},
        log_likelihood=run.log_likelihood().cpu(),
        log_prior=run.log_prior().cpu(),
        log_guide=None,
        why_no_density="",
        device=drawn.x.device,
        seed=seed,
    )


def _require_no_params(given: Conditioned) -> None:
    with poutine.trace(param_only=True) as params:
        given.programs[0](*given.batch)
    held = owner(given.programs[0])
    own = set() if held is None else {id(parameter) for parameter in held.parameters()}
    for name, node in params.trace.nodes.items():
        if node["type"] == "param" and id(_leaf(node["value"])) not in own:
            raise ModelError(
                f"param {name!r} of the model would be fitted to every simulated data set, which were drawn with "
                "another value; make it a constant, or a latent site with a prior"
            )


@runtime_checkable
class Constrained(Protocol):
    """The value of a parameter of Pyro's store."""

    def unconstrained(self) -> Tensor:
        """The tensor that an optimiser moves."""


def _leaf(value: object) -> object:
    """The tensor that an optimiser would move, which Pyro keeps on the values of its own parameters."""
    return value.unconstrained() if isinstance(value, Constrained) else value


@contextlib.contextmanager
def _held(pair: Pair) -> Iterator[Pair]:
    """The pair with the parameters of the model that the guide has not held constant."""
    model, guide = owner(pair.model), owner(pair.guide)
    shared = set() if guide is None else {id(parameter) for parameter in guide.parameters()}
    own = [] if model is None else [p for p in model.parameters() if p.requires_grad and id(p) not in shared]
    try:
        for parameter in own:
            parameter.requires_grad_(False)
        yield pair
    finally:
        for parameter in own:
            parameter.requires_grad_(True)
