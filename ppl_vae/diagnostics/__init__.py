"""What a fitted posterior is worth: run_... gives numbers, check_... a verdict in words, plots draw them."""

from ppl_vae.diagnostics.verdict import Verdict

__all__ = ["Verdict"]
