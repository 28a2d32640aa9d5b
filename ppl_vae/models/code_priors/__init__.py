"""Priors that are learned after training, from the codes of the data."""
