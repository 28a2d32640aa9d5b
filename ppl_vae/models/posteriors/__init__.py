"""Posteriors q(z|x): modules that turn encoder features into a distribution."""
