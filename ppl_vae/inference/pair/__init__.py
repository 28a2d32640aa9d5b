"""The primitive: one run of a (model, guide) pair, and every density of it per particle and datum."""

from ppl_vae.inference.pair.evaluation import Evaluation, evaluate
from ppl_vae.inference.pair.runs import trace_terms
from ppl_vae.inference.pair.simulation import Simulated, simulate
from ppl_vae.inference.pair.terms import Site, Terms

__all__ = ["Evaluation", "Simulated", "Site", "Terms", "evaluate", "simulate", "trace_terms"]
