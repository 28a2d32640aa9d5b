"""Likelihoods p(x|z): modules that turn decoder features into a distribution."""
