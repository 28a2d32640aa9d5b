"""Estimators of a bound on log p(x), per datum: short functions of the terms of one run."""

from ppl_vae.inference.estimators.antithetic_bits import ARM, DisARM
from ppl_vae.inference.estimators.base import Estimator, Objective
from ppl_vae.inference.estimators.discrete import Enumeration, GumbelSoftmax
from ppl_vae.inference.estimators.elbo import AnalyticKL, EntropyAnalytic, MonteCarloKL, StickingTheLanding
from ppl_vae.inference.estimators.generalised_dreg import GDReG
from ppl_vae.inference.estimators.importance_weighted import CIWAE, MIWAE, PIWAE, DReG, ImportanceWeighted, Renyi
from ppl_vae.inference.estimators.randomised_truncation import RandomisedTruncation
from ppl_vae.inference.estimators.score_function import RLOO, VIMCO, ScoreFunction
from ppl_vae.inference.estimators.table import get_elbo, list_estimators
from ppl_vae.inference.estimators.tail_adaptive import TailAdaptive
from ppl_vae.inference.estimators.thermodynamic import Thermodynamic
from ppl_vae.inference.estimators.upper_bounds import CUBO
from ppl_vae.inference.estimators.wake_sleep import WakeSleep

__all__ = [
    "ARM",
    "CIWAE",
    "CUBO",
    "MIWAE",
    "PIWAE",
    "RLOO",
    "VIMCO",
    "AnalyticKL",
    "DReG",
    "DisARM",
    "EntropyAnalytic",
    "Enumeration",
    "Estimator",
    "GDReG",
    "GumbelSoftmax",
    "ImportanceWeighted",
    "MonteCarloKL",
    "Objective",
    "RandomisedTruncation",
    "Renyi",
    "ScoreFunction",
    "StickingTheLanding",
    "TailAdaptive",
    "Thermodynamic",
    "WakeSleep",
    "get_elbo",
    "list_estimators",
]
