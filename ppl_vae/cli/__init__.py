"""The command line ``ppl-vae``: it parses, calls the library, and prints."""

from ppl_vae.cli.entry import main

__all__ = ["main"]
