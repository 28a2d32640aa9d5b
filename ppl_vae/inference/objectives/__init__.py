"""Objectives around an estimator: weights of the KL, penalties, schedules of the optimiser step."""

from ppl_vae.inference.objectives.aggregate_posterior import DIP, MMD, TotalCorrelation
from ppl_vae.inference.objectives.classifier_term import ClassifierTerm
from ppl_vae.inference.objectives.density_ratio import DensityRatio
from ppl_vae.inference.objectives.quantisation import VectorQuantisation
from ppl_vae.inference.objectives.reconstruction import ReconstructionLikelihood, SparseActivations
from ppl_vae.inference.objectives.weightings import Annealed, Beta, Capacity, FreeBits, ReconstructionError

__all__ = [
    "DIP",
    "MMD",
    "Annealed",
    "Beta",
    "Capacity",
    "ClassifierTerm",
    "DensityRatio",
    "FreeBits",
    "ReconstructionError",
    "ReconstructionLikelihood",
    "SparseActivations",
    "TotalCorrelation",
    "VectorQuantisation",
]
