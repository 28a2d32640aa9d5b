"""Likelihoods of grey levels x = k / (levels - 1) in [0, 1]: categorical and discretised logistic.

Both give masses, in nats per datum; bits per dimension are nats / (D log 2), comparable for the same ``levels``.
"""

from __future__ import annotations

import math

from pyro import distributions as dist
from torch import Tensor

from ppl_vae.distributions import DiscretisedLogistic, GreyCategorical, GreyLevels
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.configuration import remembers
from ppl_vae.models.likelihoods.base import Likelihood, check_finite

# The authors' own floor is -7 in units where the grey values span [-1, 1].
MIN_LOG_SCALE = -7 - math.log(2)


class CategoricalLikelihood(Likelihood):
    """The categorical p(x = k / (levels - 1) | z) = softmax(features)_k, independent over pixels.

    van den Oord, Kalchbrenner & Kavukcuoglu (2016): https://arxiv.org/abs/1601.06759

    Args:
        levels: how many grey levels, which is the number of features a pixel.
    """

    name = "categorical"

    @remembers
    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        self.num_parameters = self.levels = _at_least_two(levels)

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of grey levels."""
        return GreyCategorical(features.movedim(-1 - event_dim, -1)).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse values that are no grey levels."""
        _check_levels(self.name, x, self.levels)


class DiscretisedLogisticLikelihood(Likelihood):
    """A logistic variable rounded to grey levels, independent over pixels.

    (Kingma et al. 2016; Salimans et al. 2017.) The features are the location, in units of x, and the log of the
    scale, at least MIN_LOG_SCALE. The masses are those of ``ppl_vae.distributions.DiscretisedLogistic``.

    Salimans, Karpathy, Chen & Kingma (2017): https://arxiv.org/abs/1701.05517

    Args:
        levels: how many grey levels.
    """

    name = "discretised-logistic"
    num_parameters = 2

    @remembers
    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        self.levels = _at_least_two(levels)

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of grey levels."""
        loc, log_scale = features.unbind(-1 - event_dim)
        return DiscretisedLogistic(loc, log_scale.clamp(min=MIN_LOG_SCALE), self.levels).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse values that are no grey levels."""
        _check_levels(self.name, x, self.levels)


def _at_least_two(levels: int) -> int:
    if not isinstance(levels, int) or isinstance(levels, bool) or levels < 2:
        raise ModelError(f"levels must be an integer of at least 2, got {levels!r}")
    return levels


def _check_levels(name: str, x: Tensor, levels: int) -> None:
    check_finite(name, x)
    bad = (~GreyLevels(levels).check(x)).sum().item()
    if bad:
        raise DataError(
            f"likelihood {name!r} needs grey values k / {levels - 1} in [0, 1], but {bad} of {x.numel()} are not; "
            "levels= states the number of grey levels"
        )
