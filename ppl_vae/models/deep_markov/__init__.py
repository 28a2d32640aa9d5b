"""The deep Markov model: a chain of latent states and a guide that smooths over it."""

from ppl_vae.models.deep_markov.deep_markov_model import DeepMarkovModel

__all__ = ["DeepMarkovModel"]
