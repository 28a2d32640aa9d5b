"""Programs with categories: class labels that are given, partly given, or latent."""
