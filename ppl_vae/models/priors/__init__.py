"""Priors p(z): modules whose forward returns a distribution."""
