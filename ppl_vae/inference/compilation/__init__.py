"""Training steps replayed without Pyro's handlers: traced, compiled, or as a CUDA graph."""
