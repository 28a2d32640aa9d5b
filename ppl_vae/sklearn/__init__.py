"""A VAE as an estimator of scikit-learn."""

from typing import TYPE_CHECKING

from ppl_vae.lazy import load_names_lazily

# One line a name, here and in __all__; each is imported when it is first asked for.
if TYPE_CHECKING:
    from ppl_vae.sklearn.probe import linear_probe
    from ppl_vae.sklearn.vae_transformer import VAETransformer

__all__ = ["VAETransformer", "linear_probe"]

load_names_lazily(__name__)
