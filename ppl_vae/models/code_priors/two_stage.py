r"""The post-hoc prior: first the autoencoder is trained, then a density is fitted to its codes.

The codes of trained data rarely fill N(0, I), so draws from it decode badly. A second stage fits a mixture of
Gaussians to the codes and takes its place (Dai & Wipf 2019; Ghosh et al. 2020, section 4). The decoder and
the guide stay as they are.

Dai & Wipf (2019): https://arxiv.org/abs/1903.05789
Ghosh, Sajjadi, Vergari, Black & Schölkopf (2020): https://arxiv.org/abs/1903.12436
"""

from __future__ import annotations

import copy
from typing import Literal

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from ppl_vae.arrays import Array
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.models.code_priors.new_prior import require_exchangeable
from ppl_vae.models.priors.priors import MixturePrior
from ppl_vae.models.vae import VAE
from ppl_vae.randomness import seeded
from ppl_vae.renamed import by_keyword
from ppl_vae.spaces import EUCLIDEAN

BATCH = 1024


@by_keyword("seed", "codes")
def with_post_hoc_prior(
    vae: VAE,
    x: Array,
    num_components: int = 10,
    *,
    codes: Literal["draws", "means"] = "draws",
    seed: int = 0,
) -> VAE:
    """Copy a VAE with, as its prior, a mixture of diagonal Gaussians fitted to the codes of x.

    Args:
        vae: a trained model; it is left as it is.
        x: data [N, *event_shape], the training data.
        num_components: C.
        codes: "draws", one of q(z|x) per datum, what the decoder has learned to read (Dai & Wipf), or
            "means", for guides of next to no width (Ghosh et al.). Under "means" a latent dimension that the
            guide ignores gets a prior of no width, with which no ELBO is worth its name.
        seed: of the codes' draws and of the fit.

    Raises:
        ModelError: the model is defined by its prior, as the linear-Gaussian one is, its codes lie in no Euclidean
            space, there are fewer data than components, or ``codes`` is unknown.
    """
    require_exchangeable(vae)
    if vae.space != EUCLIDEAN:
        raise ModelError(f"a mixture of Gaussians lives in Euclidean space, and the codes in the {vae.space.name}")
    if codes not in ("draws", "means"):
        raise ModelError(unknown_name("codes", codes, ("draws", "means")))
    prior = MixturePrior(num_components)
    z = _codes(vae, vae.own_data(x), codes, seed)
    if len(z) < num_components:
        raise ModelError(f"{num_components} components cannot be fitted to {len(z)} data")
    fitted = GaussianMixture(num_components, covariance_type="diag", random_state=seed).fit(z)
    with seeded(seed), torch.no_grad():
        prior.build(vae.latent_dim)
        prior.logits.copy_(torch.from_numpy(np.log(fitted.weights_)))
        prior.loc.copy_(torch.from_numpy(fitted.means_))
        prior.log_scale.copy_(torch.from_numpy(0.5 * np.log(fitted.covariances_)))
    like = next(vae.parameters())
    twin = copy.deepcopy(vae)
    twin.model.prior = prior.to(like.device, like.dtype)
    twin.remember(prior=prior.config)
    return twin


@torch.no_grad()
def _codes(vae: VAE, x: Tensor, codes: str, seed: int) -> np.ndarray:
    # Encoded by a copy in evaluation mode, so that the model keeps its own.
    scout = copy.deepcopy(vae).eval()
    with seeded(seed, next(vae.parameters()).device):
        guides = (scout.encode(batch) for batch in x.split(BATCH))
        batches = [q.sample() if codes == "draws" else q.mean for q in guides]
    return torch.cat(batches).double().cpu().numpy()
