"""Draws and densities in the container of the installed ArviZ."""

from ppl_vae.diagnostics.arviz.inference_data import inference_data

__all__ = ["inference_data"]
