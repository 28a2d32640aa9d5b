"""The deep Markov model: a chain of latent states and a guide that smooths over it."""
