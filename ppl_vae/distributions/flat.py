"""The improper distribution of an autoencoder's codes."""

from __future__ import annotations

from pyro import distributions as dist
from torch import Tensor

from ppl_vae.errors import ModelError


class Flat(dist.ImproperUniform):
    """The improper distribution on R^d whose density is 1 everywhere; nothing can be drawn from it."""

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density 0 at every value [*batch, d], on its device and in its precision."""
        return value.new_zeros(value.shape[: value.dim() - self.event_dim])

    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Refuse: nothing can be drawn from an improper distribution.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            "the prior is flat over all codes, and nothing can be drawn from it: an autoencoder is no generative "
            "model. Give it a prior first: models.with_post_hoc_prior"
        )
