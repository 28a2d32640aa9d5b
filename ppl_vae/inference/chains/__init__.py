"""Hamiltonian Monte Carlo on p(z | x_n), for many chains and a whole data set at once."""

from ppl_vae.inference.chains.chains import Chains, Draws, frozen

__all__ = ["Chains", "Draws", "frozen"]
