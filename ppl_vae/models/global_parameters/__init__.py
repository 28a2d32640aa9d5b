"""Pairs with global latent sites: weights of a decoder, shifts of groups."""
