"""Inference on any Pyro (model, guide) pair: terms, estimators, objectives, training, evaluation."""

from ppl_vae.inference import schedules
from ppl_vae.inference.elbo import (
    AnalyticKL,
    Estimator,
    MonteCarloKL,
    get_elbo,
    list_estimators,
)
from ppl_vae.inference.evaluation import Evaluation, evaluate
from ppl_vae.inference.objective import Objective
from ppl_vae.inference.objectives import Beta
from ppl_vae.inference.svi import FitResult, fit
from ppl_vae.inference.terms import Site, Terms, trace_terms

__all__ = [
    "AnalyticKL",
    "Beta",
    "Estimator",
    "Evaluation",
    "FitResult",
    "MonteCarloKL",
    "Objective",
    "Site",
    "Terms",
    "evaluate",
    "fit",
    "get_elbo",
    "list_estimators",
    "schedules",
    "trace_terms",
]
