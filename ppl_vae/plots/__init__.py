"""Matplotlib figures of results: they take numbers, return a Figure, and compute nothing."""

from typing import TYPE_CHECKING

from ppl_vae.lazy import load_names_lazily

# One line a name, here and in __all__; each is imported when it is first asked for.
if TYPE_CHECKING:
    from ppl_vae.plots.arithmetic import plot_latent_arithmetic
    from ppl_vae.plots.attribute_changes import plot_attribute_changes
    from ppl_vae.plots.calibration import plot_calibration
    from ppl_vae.plots.class_structure import plot_class_structure
    from ppl_vae.plots.column_reconstructions import plot_column_reconstructions
    from ppl_vae.plots.coverage import plot_coverage
    from ppl_vae.plots.density_ratio import plot_density_ratio
    from ppl_vae.plots.disentanglement import plot_disentanglement
    from ppl_vae.plots.estimators import (
        plot_estimator_cost,
        plot_estimator_values,
        plot_gradient_variance,
        plot_snr,
    )
    from ppl_vae.plots.evidence import plot_evidence_curve
    from ppl_vae.plots.foreign import plot_foreign
    from ppl_vae.plots.gains import plot_gains
    from ppl_vae.plots.gaps import plot_gaps
    from ppl_vae.plots.image_rows import plot_image_rows
    from ppl_vae.plots.interpolation import plot_interpolations
    from ppl_vae.plots.khat import plot_khat, plot_worst_data
    from ppl_vae.plots.latent_holes import plot_latent_holes
    from ppl_vae.plots.latent_kl import plot_latent_kl
    from ppl_vae.plots.latent_map import plot_latent_map
    from ppl_vae.plots.latent_scatter import plot_latent_scatter
    from ppl_vae.plots.learning_curves import plot_learning_curves
    from ppl_vae.plots.local_c2st import plot_local_c2st
    from ppl_vae.plots.manifold import plot_manifold
    from ppl_vae.plots.marginals import plot_marginals
    from ppl_vae.plots.pairs import plot_pairs
    from ppl_vae.plots.path_evidence import plot_path_evidence
    from ppl_vae.plots.predictive import plot_predictive
    from ppl_vae.plots.rate_distortion import plot_rate_distortion
    from ppl_vae.plots.reconstructions import plot_reconstructions
    from ppl_vae.plots.recovery import plot_recovery
    from ppl_vae.plots.reference_posterior import plot_reference
    from ppl_vae.plots.samples import plot_samples
    from ppl_vae.plots.sweep import plot_sweep
    from ppl_vae.plots.traversals import plot_traversals
    from ppl_vae.plots.typicality import plot_typicality
    from ppl_vae.plots.worst_rows import plot_worst_rows

__all__ = [
    "plot_attribute_changes",
    "plot_calibration",
    "plot_class_structure",
    "plot_column_reconstructions",
    "plot_coverage",
    "plot_density_ratio",
    "plot_disentanglement",
    "plot_estimator_cost",
    "plot_estimator_values",
    "plot_evidence_curve",
    "plot_foreign",
    "plot_gains",
    "plot_gaps",
    "plot_gradient_variance",
    "plot_image_rows",
    "plot_interpolations",
    "plot_khat",
    "plot_latent_arithmetic",
    "plot_latent_holes",
    "plot_latent_kl",
    "plot_latent_map",
    "plot_latent_scatter",
    "plot_learning_curves",
    "plot_local_c2st",
    "plot_manifold",
    "plot_marginals",
    "plot_pairs",
    "plot_path_evidence",
    "plot_predictive",
    "plot_rate_distortion",
    "plot_reconstructions",
    "plot_recovery",
    "plot_reference",
    "plot_samples",
    "plot_snr",
    "plot_sweep",
    "plot_traversals",
    "plot_typicality",
    "plot_worst_data",
    "plot_worst_rows",
]

load_names_lazily(__name__)
