"""The metrics of codes against factors: name of the metric -> the function that gives its scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ppl_vae.diagnostics.latent_space.disentanglement.beta_vae_score import beta_vae_score
from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded
from ppl_vae.diagnostics.latent_space.disentanglement.dci import dci
from ppl_vae.diagnostics.latent_space.disentanglement.explicitness import explicitness
from ppl_vae.diagnostics.latent_space.disentanglement.factor_vae_score import factor_vae_score
from ppl_vae.diagnostics.latent_space.disentanglement.gaussian_total_correlation import gaussian_total_correlation
from ppl_vae.diagnostics.latent_space.disentanglement.irs import irs
from ppl_vae.diagnostics.latent_space.disentanglement.mig import mig
from ppl_vae.diagnostics.latent_space.disentanglement.modularity import modularity
from ppl_vae.diagnostics.latent_space.disentanglement.sap import sap

Metric = Callable[[Coded], Mapping[str, float]]

METRICS: Mapping[str, Metric] = {
    "mig": mig,
    "modularity": modularity,
    "irs": irs,
    "gaussian-tc": gaussian_total_correlation,
    "factor-vae": factor_vae_score,
    "beta-vae": beta_vae_score,
    "sap": sap,
    "explicitness": explicitness,
    "dci": dci,
}
"""All of them; those that fit no learner first."""
BINNED = ("mig", "modularity")
"""Those that look at histograms of the codes."""
