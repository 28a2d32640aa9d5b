"""Peers side by side: the same variational autoencoder trained by several programs, measured in one run."""
