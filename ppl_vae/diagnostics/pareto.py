"""Pareto-smoothed importance sampling: what ``inference.pareto`` has, where diagnostics look for it."""

from ppl_vae.inference.pareto import LEAST_TAIL, Smoothed, generalised_pareto, khat, smooth, tail_length, threshold

__all__ = ["LEAST_TAIL", "Smoothed", "generalised_pareto", "khat", "smooth", "tail_length", "threshold"]
