"""The invariant VAE: rotation, translation and scale of an image as latents before any decoder."""
