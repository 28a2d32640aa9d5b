"""The vector-quantised VAE: its codebook, and the priors over its codes."""
