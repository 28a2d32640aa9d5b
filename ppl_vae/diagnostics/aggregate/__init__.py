"""The aggregate posterior taken apart, and paths through the latent space."""
