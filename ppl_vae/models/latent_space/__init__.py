"""Pictures and directions of a latent space: a grid of codes, and arithmetic with them."""
