"""Disentanglement of codes against ground-truth factors: one file a metric, one function for all."""
