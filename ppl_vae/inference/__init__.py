"""Inference on any Pyro (model, guide) pair: terms, estimators, objectives, training, evaluation."""

from ppl_vae.inference import schedules
from ppl_vae.inference.aggregate_posterior import DIP, MMD, TotalCorrelation
from ppl_vae.inference.annealing.bidirectional import EvidenceBracket, bidirectional_evidence
from ppl_vae.inference.classifier_term import ClassifierTerm
from ppl_vae.inference.comparison import compare_estimators
from ppl_vae.inference.density_ratio import DensityRatio
from ppl_vae.inference.discrete import Enumeration, GumbelSoftmax
from ppl_vae.inference.elbo import AnalyticKL, EntropyAnalytic, MonteCarloKL, StickingTheLanding
from ppl_vae.inference.estimators import get_elbo, list_estimators
from ppl_vae.inference.evaluation import Evaluation, evaluate
from ppl_vae.inference.evidence import Evidence, log_evidence
from ppl_vae.inference.evidence_over_draws import evidence_curve
from ppl_vae.inference.importance_weighted import CIWAE, MIWAE, PIWAE, DReG, ImportanceWeighted, Renyi
from ppl_vae.inference.joint import Simulated, simulate
from ppl_vae.inference.laboratory.particles import compare_over_particles
from ppl_vae.inference.laboratory.verdict import check_estimators
from ppl_vae.inference.objective import Estimator, Objective
from ppl_vae.inference.objectives import Annealed, Beta, Capacity, FreeBits, ReconstructionError
from ppl_vae.inference.quantisation import VectorQuantisation
from ppl_vae.inference.reconstruction import ReconstructionLikelihood, SparseActivations
from ppl_vae.inference.score_function import RLOO, VIMCO, ScoreFunction
from ppl_vae.inference.svi import FitResult, fit
from ppl_vae.inference.terms import Site, Terms, trace_terms
from ppl_vae.inference.thermodynamic import Thermodynamic
from ppl_vae.inference.training.interruption import FitInterrupted
from ppl_vae.inference.upper_bounds import CUBO
from ppl_vae.inference.wake_sleep import WakeSleep

__all__ = [
    "CIWAE",
    "CUBO",
    "DIP",
    "MIWAE",
    "MMD",
    "PIWAE",
    "RLOO",
    "VIMCO",
    "AnalyticKL",
    "Annealed",
    "Beta",
    "Capacity",
    "ClassifierTerm",
    "DReG",
    "DensityRatio",
    "EntropyAnalytic",
    "Enumeration",
    "Estimator",
    "Evaluation",
    "Evidence",
    "EvidenceBracket",
    "FitInterrupted",
    "FitResult",
    "FreeBits",
    "GumbelSoftmax",
    "ImportanceWeighted",
    "MonteCarloKL",
    "Objective",
    "ReconstructionError",
    "ReconstructionLikelihood",
    "Renyi",
    "ScoreFunction",
    "Simulated",
    "Site",
    "SparseActivations",
    "StickingTheLanding",
    "Terms",
    "Thermodynamic",
    "TotalCorrelation",
    "VectorQuantisation",
    "WakeSleep",
    "bidirectional_evidence",
    "check_estimators",
    "compare_estimators",
    "compare_over_particles",
    "evaluate",
    "evidence_curve",
    "fit",
    "get_elbo",
    "list_estimators",
    "log_evidence",
    "schedules",
    "simulate",
    "trace_terms",
]
