"""One simulated data set, and the guide that is fitted to it: see ``refits``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pyro
import torch
from pyro import poutine
from pyro.params.param_store import StateDict
from torch import Tensor

from ppl_vae.containers import Data
from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors
from ppl_vae.diagnostics.given import admitted
from ppl_vae.errors import ModelError
from ppl_vae.inference.fitting.fit import fit
from ppl_vae.inference.fitting.fit_many import empty_store
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
from ppl_vae.randomness import derived_seed


@dataclass(frozen=True)
class Refit:
    """One simulated data set and the pair that is to be fitted to it.

    Attributes:
        given: the pair, with the simulated data.
        truth: the values that they were simulated with.
        store: the state of Pyro's parameter store that is the pair's own.
        seed: of the fit and the draws.
    """

    given: Conditioned
    truth: Mapping[str, Tensor]
    store: StateDict
    seed: int

    @property
    def fit_seed(self) -> int:
        """The seed of the fit."""
        return derived_seed(self.seed, 1)

    def fit_alone(self, options: Mapping[str, object]) -> None:
        """Fit the guide by itself."""
        with pyro.get_param_store().scope(self.store), held(as_pair(self.given.programs)) as pair:
            fit(pair, together(self.given.batch), seed=self.fit_seed, progress=False, **options)  # type: ignore[arg-type]

    def drawn(self, num_samples: int) -> SimulatedPosteriors:
        """Draw from the fitted guide: values [1 + L, *event], densities [1 + L]."""
        given, stream = self.given, derived_seed(self.seed, 2)
        own = pyro.get_param_store().scope(self.store)
        with own, torch.no_grad(), evaluating(*given.programs, seed=stream, device=given.x.device):
            terms = run_terms(*given.programs, given.batch, {}, max(2, num_samples), both_levels=True)
            if terms.whole is None or not terms.whole.sites:
                raise ModelError(
                    "the model has no global sites: simulate_posteriors needs no fit of its local guide"
                )
            return _with_truth(given, terms, self.truth, num_samples, self.seed)


def simulated(make_pair: Callable[[], PairLike], x: Data, seed: int) -> Refit:
    """Simulate a data set, for a guide that is not fitted yet."""
    store = empty_store()
    with pyro.get_param_store().scope(store):
        given = admitted(make_pair(), x)
        with torch.no_grad(), evaluating(*given.programs, seed=derived_seed(seed, 0), device=given.x.device):
            _require_no_params(given)
            truth = simulate(given.programs[0], *given.batch)
    return Refit(given.with_batch(tuple(part.detach() for part in truth.batch)), truth.values, store, seed)


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
def held(pair: Pair) -> Iterator[Pair]:
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
