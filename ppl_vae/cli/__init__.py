"""The command line ``ppl-vae``: it parses, calls the library, and prints."""

from ppl_vae.cli.app import main

__all__ = ["main"]
