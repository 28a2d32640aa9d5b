"""Training steps replayed without Pyro: traced, compiled, or as a CUDA graph."""
