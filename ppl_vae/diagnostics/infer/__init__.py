"""Draws of p(z|x) of known quality for every datum of a data set."""

from ppl_vae.diagnostics.infer.imputation import impute
from ppl_vae.diagnostics.infer.infer import infer

__all__ = ["impute", "infer"]
