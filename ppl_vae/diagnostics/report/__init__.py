"""A diagnosis as one HTML file that needs nothing beside it."""

from ppl_vae.diagnostics.report.html import Subject, render_report, write_report

__all__ = ["Subject", "render_report", "write_report"]
