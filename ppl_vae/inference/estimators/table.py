"""Estimators by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.inference.estimators.base import Estimator, Objective
from ppl_vae.inference.estimators.elbo import AnalyticKL, EntropyAnalytic, MonteCarloKL, StickingTheLanding
from ppl_vae.inference.estimators.generalised_dreg import GDReG
from ppl_vae.inference.estimators.importance_weighted import CIWAE, MIWAE, PIWAE, DReG, ImportanceWeighted, Renyi
from ppl_vae.inference.estimators.score_function import RLOO, VIMCO, ScoreFunction
from ppl_vae.inference.estimators.tail_adaptive import TailAdaptive
from ppl_vae.inference.estimators.thermodynamic import Thermodynamic
from ppl_vae.inference.estimators.upper_bounds import CUBO
from ppl_vae.inference.estimators.wake_sleep import WakeSleep

ESTIMATORS: Mapping[str, Callable[..., Estimator]] = {
    "analytic-kl": AnalyticKL,
    "monte-carlo-kl": MonteCarloKL,
    "entropy": EntropyAnalytic,
    "sticking-the-landing": StickingTheLanding,
    "score-function": ScoreFunction,
    "rloo": RLOO,
    "vimco": VIMCO,
    "iwae": ImportanceWeighted,
    "dreg": DReG,
    "miwae": MIWAE,
    "ciwae": CIWAE,
    "piwae": PIWAE,
    "renyi": Renyi,
    "tvo": Thermodynamic,
    "wake-sleep": WakeSleep,
    "cubo": CUBO,
    "tail-adaptive": TailAdaptive,
    "gdreg": GDReG,
}


def list_estimators() -> list[str]:
    """The names that ``get_elbo`` knows."""
    return list(ESTIMATORS)


def get_elbo(name: str, **options: object) -> Estimator:
    """The estimator of that name.

    Raises:
        ModelError: the name or an option is unknown.

    >>> get_elbo("analytic-kl", num_particles=8).num_particles
    8
    """
    if name not in ESTIMATORS:
        raise ModelError(unknown_name("estimator", name, ESTIMATORS))
    try:
        return ESTIMATORS[name](**options)
    except TypeError as error:
        raise ModelError(f"estimator {name!r}: {str(error).splitlines()[0]}") from error


def as_objective(elbo: str | Objective) -> Objective:
    """An estimator by name, or the objective itself.

    Raises:
        ModelError: it is neither.
    """
    if isinstance(elbo, str):
        return get_elbo(elbo)
    if not isinstance(elbo, Objective):
        raise ModelError(f"elbo must be a name or an objective of ppl_vae.inference, got {type(elbo).__name__}")
    return elbo
