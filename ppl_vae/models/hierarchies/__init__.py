"""Programs with several layers of latents, each the prior of the one below."""
