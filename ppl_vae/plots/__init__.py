"""Matplotlib figures of results: they take numbers, return a Figure, and compute nothing."""

from ppl_vae.plots.arithmetic import plot_latent_arithmetic
from ppl_vae.plots.estimators import (
    plot_estimator_cost,
    plot_estimator_values,
    plot_gradient_variance,
    plot_snr,
)
from ppl_vae.plots.interpolation import plot_interpolations
from ppl_vae.plots.latent_scatter import plot_latent_scatter
from ppl_vae.plots.learning_curves import plot_learning_curves
from ppl_vae.plots.manifold import plot_manifold
from ppl_vae.plots.rate_distortion import plot_rate_distortion
from ppl_vae.plots.reconstructions import plot_reconstructions
from ppl_vae.plots.samples import plot_samples
from ppl_vae.plots.traversals import plot_traversals

__all__ = [
    "plot_estimator_cost",
    "plot_estimator_values",
    "plot_gradient_variance",
    "plot_interpolations",
    "plot_latent_arithmetic",
    "plot_latent_scatter",
    "plot_learning_curves",
    "plot_manifold",
    "plot_rate_distortion",
    "plot_reconstructions",
    "plot_samples",
    "plot_snr",
    "plot_traversals",
]
