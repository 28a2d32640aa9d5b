"""Likelihoods of counts 0, 1, 2, ...: Poisson and negative binomial."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.checks import whole
from ppl_vae.distributions.counts import NegativeBinomialCounts, PoissonCounts
from ppl_vae.errors import DataError, ModelError, unknown_name
from ppl_vae.models.configuration import remembers
from ppl_vae.models.likelihoods.base import Likelihood, check_finite
from ppl_vae.precision import largest_whole, widened

LEAST_DISPERSION = 1e-12
ENCODER_SEES = ("log1p", "x")
# The least and the largest dispersion at which one begins that is taken from the moments of a column.
BEGINNINGS = (0.01, 100.0)


class PoissonLikelihood(Likelihood):
    """The Poisson p(x|z) = exp(-rate) rate^x / x!; the features are log rates, the mean an expected count.

    Args:
        encoder_sees: "log1p", log(1 + x), or "x", the counts; an encoder of the user's own always sees x.
    """

    name = "poisson"

    @remembers
    def __init__(self, encoder_sees: str = "log1p") -> None:
        super().__init__()
        self.encoder_sees = checked_sight(encoder_sees)

    def start(self, x: Tensor) -> Tensor:
        """The log rates of data [N, *event_shape]: [1, *event_shape]."""
        return log_rates(x)

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of counts."""
        return PoissonCounts(features.squeeze(-1 - event_dim)).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse data that are no counts."""
        check_counts(self.name, x)


class NegativeBinomialLikelihood(Likelihood):
    """Counts with mean mu and variance mu + mu^2 / r: a Poisson whose rate is Gamma-distributed.

        P(x|z) = Gamma(x + r) / (Gamma(r) x!) (r / (r + mu))^r (mu / (r + mu))^x

    The features are log mu. The dispersion r does not depend on z; it is learned, as in models of gene counts
    (Lopez et al. 2018; Grønbech et al. 2020), and with r to infinity the Poisson comes back.

    Lopez, Regier, Cole, Jordan & Yosef (2018): https://doi.org/10.1038/s41592-018-0229-2

    Args:
        dispersion_shape: of the learned log r, which broadcasts to the event shape: () is one r for all
            coordinates, the event shape one r for each.
        initial_dispersion: where r starts, from 1e-12 to 1e12.
        encoder_sees: "log1p", log(1 + x), or "x", the counts; an encoder of the user's own always sees x.
    """

    name = "negative-binomial"

    @remembers
    def __init__(
        self, dispersion_shape: Sequence[int] = (), initial_dispersion: float = 1.0, encoder_sees: str = "log1p"
    ) -> None:
        super().__init__()
        self.encoder_sees = checked_sight(encoder_sees)
        if not LEAST_DISPERSION <= initial_dispersion <= 1 / LEAST_DISPERSION:
            raise ModelError(
                f"initial_dispersion must be a positive number, got {initial_dispersion}; it may be 1e-12 to 1e12"
            )
        self.dispersion_shape = tuple(whole("dispersion_shape", n) for n in dispersion_shape)
        self.initial_dispersion = float(initial_dispersion)
        start = torch.full(self.dispersion_shape, math.log(self.initial_dispersion))
        self.log_dispersion = nn.Parameter(start)

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of counts."""
        log_mean = features.squeeze(-1 - event_dim)
        shape = log_mean.shape[log_mean.dim() - event_dim :]
        if _broadcast(self.dispersion_shape, shape) != shape:
            raise ModelError(
                f"likelihood {self.name!r}: dispersion_shape {self.dispersion_shape} does not broadcast to the "
                f"event shape {tuple(shape)}"
            )
        return NegativeBinomialCounts(log_mean, widened(self.log_dispersion)).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse data that are no counts."""
        check_counts(self.name, x)

    def start(self, x: Tensor) -> Tensor:
        """The log means of data [N, *event_shape]: [1, *event_shape]."""
        return log_rates(x)

    def for_columns(self, count: int) -> None:
        """Learn one dispersion for each column."""
        self.dispersion_shape = (count,)
        self.log_dispersion = nn.Parameter(self.log_dispersion.detach().repeat(count))

    @torch.no_grad()
    def begin_at(self, x: Tensor) -> None:
        """Begin at the dispersions m^2 / (v - m) of columns with mean m and variance v, from 0.01 to 100."""
        mean, variance = moments(x)
        r = (mean.square() / (variance - mean).clamp(min=1e-12)).clamp(*BEGINNINGS)
        self.log_dispersion.copy_(r.log())


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the variance of the observed values of columns [N, M]: [M], in double precision."""
    values = x.double()
    mean = values.nanmean(0)
    return mean, (values - mean).square().nanmean(0)


def checked_sight(encoder_sees: str) -> str:
    """Refuse what an encoder of ours cannot see of counts."""
    if encoder_sees not in ENCODER_SEES:
        raise ModelError(unknown_name("encoder_sees", encoder_sees, ENCODER_SEES))
    return encoder_sees


def log_rates(x: Tensor) -> Tensor:
    """The log means of data [N, *event_shape] over those that are observed: [1, *event_shape]."""
    # Half a count more, so that what never occurs in these data has a rate as well; NaN is a missing one.
    number = (~x.isnan()).sum(0).clamp(min=1)
    return ((x.nansum(0) + 0.5) / number).log().unsqueeze(0)


def _broadcast(*shapes: tuple[int, ...]) -> torch.Size | None:
    try:
        return torch.broadcast_shapes(*shapes)
    except RuntimeError:
        return None


def check_counts(name: str, x: Tensor) -> None:
    """Raise ``DataError`` unless every value is a count that its precision holds."""
    check_finite(name, x)
    bad = ((x < 0) | (x != x.round())).sum().item()
    if bad:
        raise DataError(f"likelihood {name!r} needs counts 0, 1, 2, ..., but {bad} of {x.numel()} values are not")
    most = largest_whole(x.dtype)
    if x.max() > most:
        wider = "float64" if x.dtype == torch.float32 else "float32 or float64"
        raise DataError(
            f"likelihood {name!r}: counts up to {x.max().item():g}, while {str(x.dtype).removeprefix('torch.')} "
            f"holds every whole number to {most} only: convert the model to {wider}"
        )
