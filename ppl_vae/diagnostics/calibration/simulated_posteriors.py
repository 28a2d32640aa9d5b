r"""Simulated data whose latent values are known, each with draws from the guide, for calibration and coverage.

    z_0 ~ p(z),   x ~ p(x | z_0),   z_1, ..., z_L ~ q(z | x)

Where the data given have missing coordinates (NaN), the simulated ones have the same: an answer for complete data
says nothing about the guide on data with holes.

If q is the posterior, z_0 is one more draw of it: z_0, ..., z_L are exchangeable given x. Every test here asks
whether z_0 can be told from the others. Nothing is fitted again, and no data are needed but for shape and holes.
Of a pair with global sites g all of it is given g ~ q(g): it is the local guide that is judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.arviz.exported import data_sites
from ppl_vae.diagnostics.calibration.masked_values import counted, kept
from ppl_vae.diagnostics.predictive.drawable import require_drawable
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.coordinate_names import require_same_coordinates
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.evaluation import data_per_chunk, evaluating
from ppl_vae.inference.pair.exchangeable import require_exchangeable
from ppl_vae.inference.pair.global_draws import global_draws
from ppl_vae.inference.pair.hidden_noise import require_density_of_draws
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.pair import Pair, PairLike, as_pair
from ppl_vae.inference.pair.protocols import traits
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.simulation import Simulated, simulate
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.inference.pair.trace import HANDLED
from ppl_vae.inference.pair.trace_site import TraceSite
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword, renamed

# Simulations draw from a stream of their own, none of training's or the ELBO's under the same seed.
SIMULATION_STREAM = 20
# Draws of the global sites, of a pair that has any, that the simulated data are spread over.
GLOBAL_DRAWS = 20


@dataclass(frozen=True)
class SimulatedPosteriors:
    """The latent values of S simulated data, with L draws from the guide for each, in main memory.

    In the first dimension of size 1 + L, row 0 is what was simulated and rows 1 to L are the guide's draws.

    Attributes:
        x: [S, *event_shape].
        covariates: those that x was drawn given, each [S, ...].
        datum: which of the data given lent them, and its missing coordinates [S].
        num_data: the number N of data given.
        kept: by site, True where no mask leaves it out [S, *event]; None where there are no masks.
        values: of every latent site of the model, [1 + L, S, *event]; 0 where it is masked.
        log_likelihood: log p(x|z) [1 + L, S], nats.
        log_prior: log p(z) [1 + L, S], nats.
        log_guide: log q(z|x) [1 + L, S], nats; None where the guide has no density at the simulated values.
        why_no_density: why there is none.
        device: where the pair's parameters are.
        seed: of the simulation.
    """

    x: Tensor
    values: Mapping[str, Tensor]
    log_likelihood: Tensor
    log_prior: Tensor
    log_guide: Tensor | None
    why_no_density: str
    device: torch.device
    seed: int
    covariates: Batch = ()
    datum: Tensor | None = None
    num_data: int = 1
    kept: Mapping[str, Tensor] | None = None

    @property
    def num_simulations(self) -> int:
        """The number S of simulated data."""
        return self.log_prior.shape[1]

    @property
    def num_draws(self) -> int:
        """The number L of the guide's draws for each simulated datum."""
        return self.log_prior.shape[0] - 1

    @property
    def dimension_names(self) -> list[str]:
        """The name of every latent dimension: site[i], or the site alone where its event is one number."""
        return [name for site, value in self.values.items() for name in _names(site, value.shape[2:])]

    @property
    def dimensions(self) -> Tensor:
        """Join all latent sites side by side: [1 + L, S, d]."""
        return side_by_side(self.values.values())

    @property
    def dimensions_kept(self) -> Tensor:
        """True where no mask leaves a latent dimension out: [S, d]."""
        if self.kept is None:
            return torch.ones_like(self.dimensions[0], dtype=torch.bool)
        return side_by_side(self.kept[name][None] for name in self.values)[0]

    def require_density(self) -> Tensor:
        """Return log q(z|x) [1 + L, S].

        Raises:
            ModelError: the guide has no density at the simulated values.
        """
        if self.log_guide is None:
            raise ModelError(self.why_no_density)
        return self.log_guide


def side_by_side(values: Iterable[Tensor]) -> Tensor:
    """Join the values of sites [K, N, *event] along one last dimension: [K, N, d]."""
    return torch.cat([value.flatten(2) if value.dim() > 2 else value[..., None] for value in values], -1)


class _TruthFirst(Messenger):
    """The guide's draws with the simulated latent values in the place of the first particle.

    Global sites have one value for all particles, under which the data were simulated.
    """

    def __init__(self, truth: Mapping[str, Tensor], of_all: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.truth, self.of_all = truth, of_all

    def _pyro_sample(self, msg: TraceSite) -> None:
        name = msg["name"]
        if msg["is_observed"] or (name not in self.truth and name not in self.of_all):
            return
        if name in self.of_all:
            msg["value"] = self.of_all[name]
        else:
            value = msg["fn"].sample().clone()
            value[0] = self.truth[name]
            msg["value"] = value
        msg["infer"] = {**(msg["infer"] or {}), HANDLED: True}
        msg["done"] = True


@renamed(num_draws="num_samples")
@by_keyword("seed")
def simulate_posteriors(
    pair: PairLike, x: Data | tuple[int, ...], num_simulations: int = 1000, num_samples: int = 99, *, seed: int = 0
) -> SimulatedPosteriors:
    """Simulate data from the model and draw from the guide for each; one run serves calibration and coverage.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs. The model must be one that
            can be drawn from.
        x: data [N, *event_shape], any number of them, for their shape, dtype and missing coordinates; the model
            draws data of its own, and each simulated datum has the holes of one of x, all in turn, or some from all
            over where there are more than simulations. The event shape alone will do, as a tuple, for data without
            holes. With covariates a tuple or a dict (``inference.pair.covariates``): it is drawn given those of
            that datum too.
        num_simulations: S; of a pair with global sites at least so many, in whole copies of the data.
        num_samples: L, draws from the guide per simulated datum.
        seed: of simulations and draws; torch's global generators are left as they were.

    All of it is kept: S (1 + L) latent values of every dimension, and S data.

    Raises:
        ModelError: the pair is refused, or its model cannot be drawn from; the site is named. Or its programs mean
            their own data alone, with parameters or constants of each; or all latents are global.
        DataError: x is empty, or holds values that the model could never draw.
    """
    size, num_samples = integer("num_simulations", num_simulations, least=2), integer("num_samples", num_samples)
    given = _like(as_pair(pair), x)
    stream, per_pass = derived_seed(seed, SIMULATION_STREAM), data_per_chunk(given.x, 1 + num_samples)
    with torch.no_grad(), evaluating(*given.programs, seed=derived_seed(stream, 0), device=given.x.device):
        draw = global_draws(given)
    with torch.no_grad(), evaluating(*given.programs, seed=stream, device=given.x.device):
        if draw is not None:
            # Every pass has a draw of the global sites of its own, and whole copies of the data.
            per_pass = (
                min(per_pass, max(2, len(given), size // GLOBAL_DRAWS)) // len(given) * len(given) or per_pass
            )
            size = -(-size // per_pass) * per_pass
        lenders = given.lenders(size)
        rows = given[lenders]
        parts = [_one_pass(part, num_samples, seed, draw() if draw else {}) for part in rows.split(per_pass)]
    return replace(joined(parts), datum=lenders.cpu(), num_data=len(given))


def as_simulated(
    pair: PairLike | SimulatedPosteriors,
    x: Data | tuple[int, ...] | None,
    num_simulations: int,
    num_draws: int,
    seed: int,
) -> SimulatedPosteriors:
    """Return what was simulated before as it is, or else simulate from the pair."""
    if isinstance(pair, SimulatedPosteriors):
        return pair
    if x is None:
        raise DataError("x: expected data, or their event shape as a tuple, got None")
    return simulate_posteriors(pair, x, num_simulations, num_draws, seed=seed)


def _like(pair: Pair, x: Data) -> Conditioned:
    """The data given, whose shapes, holes and covariates the simulated ones have."""
    shape = x if isinstance(x, tuple) and all(isinstance(n, int) and n > 0 for n in x) else None
    arguments = Arguments.of(pair, x)
    require_same_coordinates(arguments.pair.model, arguments.labels(x))
    first, *given = arguments.parts(torch.zeros(1, *shape) if shape is not None else x)
    model, guide = arguments.pair.model, arguments.pair.guide
    data = arguments.pair.place(first)
    if data.dim() == 0 or len(data) == 0:
        raise DataError(
            f"x: expected data [N, *event_shape] or their event shape as a tuple, got {list(data.shape)}"
        )
    admit_missing = traits(model).require_observed
    if admit_missing is not None:
        admit_missing(data)
    return Conditioned((model, guide), (data, *arguments.tensors(given, data, data.dtype)))


def _one_pass(rows: Conditioned, num_draws: int, seed: int, of_all: Mapping[str, Tensor]) -> SimulatedPosteriors:
    truth = simulate(rows.programs[0], *rows.batch, values={name: value[0] for name, value in of_all.items()})
    return posteriors_of(rows, truth, num_draws, seed, of_all)


def posteriors_of(
    rows: Conditioned, truth: Simulated, num_draws: int, seed: int, of_all: Mapping[str, Tensor] | None = None
) -> SimulatedPosteriors:
    """Draw from the guide for each of simulated data, in one pass inside ``evaluating``.

    Args:
        rows: what the data were simulated for.
        truth: the simulated data and their latent values.
        num_draws: L.
        seed: what the result tells as its own.
        of_all: the values of global sites under which they were simulated, [1, ...] each.
    """
    drawn, of_all = rows.with_batch(truth.batch), of_all or {}
    require_density_of_draws(*drawn.programs, drawn.batch)
    require_exchangeable(*drawn.programs, drawn.batch)
    fixed = {name: value.expand(1 + num_draws, *value.shape[1:]) for name, value in of_all.items()}
    handler = _TruthFirst(truth.values, fixed)
    terms = run_terms(*drawn.programs, drawn.batch, {}, 1 + num_draws, draw_handler=handler, both_levels=True)
    if not terms.model_order:
        raise ModelError("the model has no latent site: there is no posterior")
    require_drawable(terms, rows.x if len(data_sites(terms)) == 1 else None)
    log_guide, why = _log_guide(terms)
    return SimulatedPosteriors(
        x=truth.x.cpu(),
        values={name: counted(terms.sites[name]).cpu() for name in terms.model_order},
        log_likelihood=terms.log_likelihood.cpu(),
        log_prior=terms.log_prior.cpu(),
        log_guide=log_guide,
        why_no_density=why,
        device=rows.x.device,
        seed=seed,
        covariates=tuple(c.cpu() for c in drawn.covariates),
        kept={name: kept(terms.sites[name]).cpu() for name in terms.model_order},
    )


def joined(parts: list[SimulatedPosteriors]) -> SimulatedPosteriors:
    """Put passes together as one run."""
    first = parts[0]
    masks = [part.kept for part in parts if part.kept is not None]
    log_guides = [part.log_guide for part in parts if part.log_guide is not None]
    return replace(
        first,
        x=torch.cat([part.x for part in parts]),
        values={name: torch.cat([part.values[name] for part in parts], dim=1) for name in first.values},
        log_likelihood=torch.cat([part.log_likelihood for part in parts], dim=1),
        log_prior=torch.cat([part.log_prior for part in parts], dim=1),
        log_guide=torch.cat(log_guides, dim=1) if log_guides else None,
        kept={name: torch.cat([mask[name] for mask in masks]) for name in first.values} if masks else None,
        covariates=tuple(torch.cat(c) for c in zip(*(part.covariates for part in parts), strict=True)),
    )


def _log_guide(terms: Terms) -> tuple[Tensor | None, str]:
    """Return log q of a pass, or None and the reason."""
    auxiliary = [site.name for site in terms.sites.values() if site.p is None]
    if auxiliary:
        return None, f"site {auxiliary[0]!r} is auxiliary: q of the others is an integral over it, not known here"
    try:
        return terms.log_guide.cpu(), ""
    except ModelError as error:
        return None, f"{str(error).partition(';')[0]}, and not at simulated values"


def _names(site: str, event: torch.Size) -> list[str]:
    return [f"{site}[{','.join(map(str, index))}]" for index in np.ndindex(*event)] if event else [site]
