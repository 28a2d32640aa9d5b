"""Inference on any Pyro (model, guide) pair: terms, estimators, objectives, training, evaluation."""

from typing import TYPE_CHECKING

from ppl_vae.lazy import load_names_lazily

# One line a name, here and in __all__; each is imported when it is first asked for.
if TYPE_CHECKING:
    from ppl_vae.inference.estimators.antithetic_bits import ARM, DisARM
    from ppl_vae.inference.estimators.base import Estimator, Objective
    from ppl_vae.inference.estimators.discrete import Enumeration, GumbelSoftmax
    from ppl_vae.inference.estimators.elbo import AnalyticKL, EntropyAnalytic, MonteCarloKL, StickingTheLanding
    from ppl_vae.inference.estimators.generalised_dreg import GDReG
    from ppl_vae.inference.estimators.importance_weighted import (
        CIWAE,
        MIWAE,
        PIWAE,
        DReG,
        ImportanceWeighted,
        Renyi,
    )
    from ppl_vae.inference.estimators.randomised_truncation import RandomisedTruncation
    from ppl_vae.inference.estimators.score_function import RLOO, VIMCO, ScoreFunction
    from ppl_vae.inference.estimators.table import get_elbo, list_estimators
    from ppl_vae.inference.estimators.tail_adaptive import TailAdaptive
    from ppl_vae.inference.estimators.thermodynamic import Thermodynamic
    from ppl_vae.inference.estimators.upper_bounds import CUBO
    from ppl_vae.inference.estimators.wake_sleep import WakeSleep
    from ppl_vae.inference.evidence.bidirectional import EvidenceBracket, bidirectional_evidence
    from ppl_vae.inference.evidence.conditional import conditional_evidence
    from ppl_vae.inference.evidence.curve import evidence_curve
    from ppl_vae.inference.evidence.evidence import Evidence, log_evidence
    from ppl_vae.inference.fitting.fit import FitResult, fit
    from ppl_vae.inference.fitting.fit_many import fit_many
    from ppl_vae.inference.laboratory.comparison import compare_estimators
    from ppl_vae.inference.laboratory.particles import compare_over_particles
    from ppl_vae.inference.laboratory.verdict import check_estimators
    from ppl_vae.inference.objectives import schedules
    from ppl_vae.inference.objectives.adversarial import AdversarialImages, AdversarialPrior
    from ppl_vae.inference.objectives.aggregate_posterior import DIP, MMD, TotalCorrelation
    from ppl_vae.inference.objectives.classifier_term import ClassifierTerm
    from ppl_vae.inference.objectives.density_ratio import DensityRatio
    from ppl_vae.inference.objectives.energy_score import EnergyScore
    from ppl_vae.inference.objectives.hidden_coordinates import DistilledConditionals, PartlyHidden
    from ppl_vae.inference.objectives.quantisation import VectorQuantisation
    from ppl_vae.inference.objectives.reconstruction import ReconstructionLikelihood, SparseActivations
    from ppl_vae.inference.objectives.regularised_codes import CodeNorm, DecoderGradient, DecoderNorm, SpectralNorm
    from ppl_vae.inference.objectives.relax import RELAX
    from ppl_vae.inference.objectives.second_stage import SecondStage
    from ppl_vae.inference.objectives.weightings import Annealed, Beta, Capacity, FreeBits, ReconstructionError
    from ppl_vae.inference.pair.evaluation import Evaluation, evaluate
    from ppl_vae.inference.pair.pair import Pair, as_pair
    from ppl_vae.inference.pair.runs import trace_terms
    from ppl_vae.inference.pair.simulation import Simulated, simulate
    from ppl_vae.inference.pair.terms import Site, Terms
    from ppl_vae.inference.training.interruption import FitInterrupted
    from ppl_vae.inference.training.loggers import CSVLogger, MLflowLogger, TensorBoardLogger, WandbLogger
    from ppl_vae.inference.training.skipping import SkippingAdam

__all__ = [
    "ARM",
    "CIWAE",
    "CUBO",
    "DIP",
    "MIWAE",
    "MMD",
    "PIWAE",
    "RELAX",
    "RLOO",
    "VIMCO",
    "AdversarialImages",
    "AdversarialPrior",
    "AnalyticKL",
    "Annealed",
    "Beta",
    "CSVLogger",
    "Capacity",
    "ClassifierTerm",
    "CodeNorm",
    "DReG",
    "DecoderGradient",
    "DecoderNorm",
    "DensityRatio",
    "DisARM",
    "DistilledConditionals",
    "EnergyScore",
    "EntropyAnalytic",
    "Enumeration",
    "Estimator",
    "Evaluation",
    "Evidence",
    "EvidenceBracket",
    "FitInterrupted",
    "FitResult",
    "FreeBits",
    "GDReG",
    "GumbelSoftmax",
    "ImportanceWeighted",
    "MLflowLogger",
    "MonteCarloKL",
    "Objective",
    "Pair",
    "PartlyHidden",
    "RandomisedTruncation",
    "ReconstructionError",
    "ReconstructionLikelihood",
    "Renyi",
    "ScoreFunction",
    "SecondStage",
    "Simulated",
    "Site",
    "SkippingAdam",
    "SparseActivations",
    "SpectralNorm",
    "StickingTheLanding",
    "TailAdaptive",
    "TensorBoardLogger",
    "Terms",
    "Thermodynamic",
    "TotalCorrelation",
    "VectorQuantisation",
    "WakeSleep",
    "WandbLogger",
    "as_pair",
    "bidirectional_evidence",
    "check_estimators",
    "compare_estimators",
    "compare_over_particles",
    "conditional_evidence",
    "evaluate",
    "evidence_curve",
    "fit",
    "fit_many",
    "get_elbo",
    "list_estimators",
    "log_evidence",
    "schedules",
    "simulate",
    "trace_terms",
]

load_names_lazily(__name__)
