"""Diagnostics of a fitted posterior: run_... gives numbers, check_... a verdict in words, plots draw them."""

from typing import TYPE_CHECKING

from ppl_vae.lazy import load_names_lazily

# One line a name, here and in __all__; each is imported when it is first asked for.
if TYPE_CHECKING:
    from ppl_vae.diagnostics.arviz.for_figures import for_plot_khat, for_plot_ppc
    from ppl_vae.diagnostics.arviz.inference_data import inference_data
    from ppl_vae.diagnostics.calibration.calibration import check_calibration, run_calibration
    from ppl_vae.diagnostics.calibration.coverage import check_coverage, run_coverage
    from ppl_vae.diagnostics.calibration.groups import calibration_table
    from ppl_vae.diagnostics.calibration.local_c2st import check_local_c2st, run_local_c2st
    from ppl_vae.diagnostics.calibration.posterior_calibration import (
        check_posterior_calibration,
        run_posterior_calibration,
    )
    from ppl_vae.diagnostics.calibration.recovery import check_recovery, run_recovery
    from ppl_vae.diagnostics.calibration.refits import simulate_refits
    from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors, simulate_posteriors
    from ppl_vae.diagnostics.collapse.collapse import run_collapse
    from ppl_vae.diagnostics.collapse.collapse_history import collapse_history
    from ppl_vae.diagnostics.collapse.verdict import check_collapse
    from ppl_vae.diagnostics.diagnosis import Diagnosis, diagnose, run_diagnosis
    from ppl_vae.diagnostics.evidence.bracket import check_bracket
    from ppl_vae.diagnostics.evidence.evidence import check_evidence, run_evidence
    from ppl_vae.diagnostics.gaps.gaps import check_gaps, run_gaps
    from ppl_vae.diagnostics.importance.global_importance import check_global_importance, run_global_importance
    from ppl_vae.diagnostics.importance.importance import check_importance, run_importance
    from ppl_vae.diagnostics.importance.khat_groups import khat_table
    from ppl_vae.diagnostics.importance.resampling import resample_posterior
    from ppl_vae.diagnostics.infer.imputation import impute
    from ppl_vae.diagnostics.infer.infer import infer
    from ppl_vae.diagnostics.latent_space.aggregate import check_aggregate, run_aggregate
    from ppl_vae.diagnostics.latent_space.arithmetic import check_arithmetic, run_arithmetic
    from ppl_vae.diagnostics.latent_space.attribute_classifier import AttributeClassifier, fit_attribute_classifier
    from ppl_vae.diagnostics.latent_space.class_structure import check_class_structure, run_class_structure
    from ppl_vae.diagnostics.latent_space.density_ratio import check_density_ratio, run_density_ratio
    from ppl_vae.diagnostics.latent_space.disentanglement.disentanglement import (
        check_disentanglement,
        run_disentanglement,
    )
    from ppl_vae.diagnostics.latent_space.disentanglement.score_codes import score_codes
    from ppl_vae.diagnostics.latent_space.feature_probe import run_feature_probe
    from ppl_vae.diagnostics.latent_space.interpolation import check_interpolation, run_interpolation
    from ppl_vae.diagnostics.latent_space.latent_holes import LatentHoles, check_latent_holes, run_latent_holes
    from ppl_vae.diagnostics.predictive.coherence import run_coherence
    from ppl_vae.diagnostics.predictive.foreign import check_foreign, perturbed, run_foreign
    from ppl_vae.diagnostics.predictive.predictive import check_predictive, run_predictive
    from ppl_vae.diagnostics.predictive.typicality import check_typicality, run_typicality
    from ppl_vae.diagnostics.reference.reference_posterior import check_reference, run_reference
    from ppl_vae.diagnostics.report.notebook import explore
    from ppl_vae.diagnostics.topics import FULL, QUICK, Effort
    from ppl_vae.diagnostics.verdict import Verdict

__all__ = [
    "FULL",
    "QUICK",
    "AttributeClassifier",
    "Diagnosis",
    "Effort",
    "LatentHoles",
    "SimulatedPosteriors",
    "Verdict",
    "calibration_table",
    "check_aggregate",
    "check_arithmetic",
    "check_bracket",
    "check_calibration",
    "check_class_structure",
    "check_collapse",
    "check_coverage",
    "check_density_ratio",
    "check_disentanglement",
    "check_evidence",
    "check_foreign",
    "check_gaps",
    "check_global_importance",
    "check_importance",
    "check_interpolation",
    "check_latent_holes",
    "check_local_c2st",
    "check_posterior_calibration",
    "check_predictive",
    "check_recovery",
    "check_reference",
    "check_typicality",
    "collapse_history",
    "diagnose",
    "explore",
    "fit_attribute_classifier",
    "for_plot_khat",
    "for_plot_ppc",
    "impute",
    "infer",
    "inference_data",
    "khat_table",
    "perturbed",
    "resample_posterior",
    "run_aggregate",
    "run_arithmetic",
    "run_calibration",
    "run_class_structure",
    "run_coherence",
    "run_collapse",
    "run_coverage",
    "run_density_ratio",
    "run_diagnosis",
    "run_disentanglement",
    "run_evidence",
    "run_feature_probe",
    "run_foreign",
    "run_gaps",
    "run_global_importance",
    "run_importance",
    "run_interpolation",
    "run_latent_holes",
    "run_local_c2st",
    "run_posterior_calibration",
    "run_predictive",
    "run_recovery",
    "run_reference",
    "run_typicality",
    "score_codes",
    "simulate_posteriors",
    "simulate_refits",
]

load_names_lazily(__name__)
