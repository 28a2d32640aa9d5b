r"""A guide that is a point; with ``priors.flat_prior`` it turns a VAE into a deterministic autoencoder.

    model:  z ~ flat on R^L (improper),   x ~ p(x | decoder(z))
    guide:  z = f(encoder(x))                                          q(z|x) is a point mass

The objective is log p(x | z = f(x)), the reconstruction log likelihood (``inf.ReconstructionLikelihood``). With
this prior there is no p(x), and a point mass has no density, so there is no ELBO and no evidence: the estimators
that need them refuse the pair by name. Nothing can be drawn from it either: ``models.with_post_hoc_prior`` fits a
prior to the codes (Ghosh et al. 2020). Its kin are other choices of the same parts:

    denoising    network "denoising": the encoder sees a corrupted x (Vincent et al. 2008); under a Gaussian
                 guide it is the denoising VAE (Im et al. 2017)
    sparse       ``inf.SparseActivations`` on codes that are sigmoids (Ng 2011)

Ghosh, Sajjadi, Vergari, Black & Schölkopf (2020): https://arxiv.org/abs/1903.12436
Vincent, Larochelle, Bengio & Manzagol (2008): https://doi.org/10.1145/1390156.1390294
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.models.configuration import Configured, remembers
from ppl_vae.precision import widened

CODES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda h: h,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
}


class PointPosterior(Configured):
    """The posterior q(z|x) with all its mass at one point z = f(x).

    Args:
        code: what the code is made of the last layer's h: "linear" (h itself), "sigmoid" or "relu".

    Raises:
        ModelError: an unknown kind of code.
    """

    name = "point"

    @remembers
    def __init__(self, code: str = "linear") -> None:
        super().__init__()
        if code not in CODES:
            raise ModelError(unknown_name("code", code, CODES))
        self.code = code

    def build(self, num_features: int, latent_dim: int) -> None:
        """Make the last layer."""
        self.loc_head = nn.Linear(num_features, latent_dim)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The point mass of features [*batch, H]: batch shape [*batch], event shape [latent_dim]."""
        return dist.Delta(CODES[self.code](widened(self.loc_head(features))), event_dim=1)
