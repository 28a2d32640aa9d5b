"""The vector-quantised VAE: its codebook, and the priors over its codes."""

from ppl_vae.models.vector_quantised.code_prior import AutoregressiveCodes, UniformCodes
from ppl_vae.models.vector_quantised.codebook import Codebook, perplexity
from ppl_vae.models.vector_quantised.vq_vae import VQVAE

__all__ = ["VQVAE", "AutoregressiveCodes", "Codebook", "UniformCodes", "perplexity"]
