"""Variational autoencoders as probabilistic programs in Pyro.

>>> import ppl_vae as pv
>>> ds = pv.load_dataset("digits", binarize="dynamic")
>>> vae = pv.VAE(ds.event_shape, latent_dim=8)
>>> result = pv.fit(vae, ds, epochs=1, progress=False)
>>> list(result.history.columns)[:5]
['epoch', 'step', 'loss', 'train_elbo', 'train_log_likelihood']
"""

from typing import TYPE_CHECKING

from ppl_vae.lazy import load_names_lazily

# One line a name, here and in __all__; each is imported when it is first asked for.
if TYPE_CHECKING:
    from ppl_vae import compression, data, diagnostics, errors, inference, kl, models, networks, plots, sklearn
    from ppl_vae.data import list_datasets, load_dataset
    from ppl_vae.diagnostics import diagnose, explore, impute, infer, inference_data
    from ppl_vae.errors import PplVaeError
    from ppl_vae.hub import from_hub, push_to_hub
    from ppl_vae.inference import Evidence, compare_estimators, evaluate, fit, fit_many, log_evidence
    from ppl_vae.models import VAE, LinearGaussianVAE, load
    from ppl_vae.models.sampling import sample
    from ppl_vae.recipe_comparison import compare_recipes
    from ppl_vae.recipes import Recipe, list_recipes, make
    from ppl_vae.sweep import sweep
    from ppl_vae.version import __version__ as __version__

__all__ = [
    "VAE",
    "Evidence",
    "LinearGaussianVAE",
    "PplVaeError",
    "Recipe",
    "compare_estimators",
    "compare_recipes",
    "compression",
    "data",
    "diagnose",
    "diagnostics",
    "errors",
    "evaluate",
    "explore",
    "fit",
    "fit_many",
    "from_hub",
    "impute",
    "infer",
    "inference",
    "inference_data",
    "kl",
    "list_datasets",
    "list_recipes",
    "load",
    "load_dataset",
    "log_evidence",
    "make",
    "models",
    "networks",
    "plots",
    "push_to_hub",
    "sample",
    "sklearn",
    "sweep",
]

load_names_lazily(__name__)
