r"""The metric of Hamiltonian Monte Carlo: an estimate of each datum's posterior covariance (Neal 2011, sec. 5.4.2).

    u = A_n v,   A_n A_n' = Cov(u | x_n)

Momenta are standard normal in the coordinates v, in which the posterior has about unit covariance in all
directions. Few draws give a covariance whose correlations are noise, so that these are shrunk towards zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Up to so many unconstrained dimensions the metric is a full one, under which correlated latents mix well.
FULL_METRIC = 20
# Draws of chains that are worth one independent draw, for the shrinkage alone.
DRAWS_PER_INDEPENDENT = 4
LEAST_VARIANCE_RATIO = 1e-8


@dataclass(frozen=True)
class Metric:
    """The linear maps of N data.

    Attributes:
        root: A_n as its lower triangle [N, D, D], or as its diagonal [N, D].
    """

    root: Tensor

    @property
    def full(self) -> bool:
        """Tell whether correlations are in it."""
        return self.root.dim() == 3

    def push(self, v: Tensor) -> Tensor:
        """Turn v [C, N, D] into A v."""
        return torch.einsum("nij,cnj->cni", self.root, v) if self.full else self.root * v

    def pull(self, gradient: Tensor) -> Tensor:
        """Turn a gradient by u [C, N, D] into the one by v, which is A' g."""
        return torch.einsum("nji,cnj->cni", self.root, gradient) if self.full else self.root * gradient

    def whiten(self, difference: Tensor) -> Tensor:
        """Turn a difference of u [C, N, D] into the one of v."""
        if not self.full:
            return difference / self.root
        return torch.linalg.solve_triangular(self.root, difference.permute(1, 2, 0), upper=False).permute(2, 0, 1)

    def of_data(self, which: Tensor | slice) -> Metric:
        """Take the maps of some data."""
        return Metric(self.root[which])


def metric_of(draws: Tensor, weight: Tensor | None = None, before: Metric | None = None) -> Metric:
    """Estimate the metric from draws of u.

    Args:
        draws: [S, N, D].
        weight: of each draw, normalised over S [S, N]; None for equal ones.
        before: a metric in whose coordinates correlations are shrunk, so that what is known already is kept.
    """
    count, _, dim = draws.shape
    share = draws.new_full(draws.shape[:2], 1 / count) if weight is None else weight.to(draws)
    centred = draws - torch.einsum("sn,snd->nd", share, draws)
    if before is not None and before.full:
        inner = _shrunk(before.whiten(centred), share, weight is not None)
        return Metric(before.root @ _as_triangle(inner))
    if dim == 1 or dim > FULL_METRIC:
        return Metric(_variance(centred, share).sqrt())
    return Metric(_as_triangle(_shrunk(centred, share, weight is not None)))


def _variance(centred: Tensor, share: Tensor) -> Tensor:
    """The variance of each coordinate [N, D]; one that has not moved keeps a little of the typical scale."""
    variance = torch.einsum("sn,snd->nd", share, centred.square())
    least = torch.finfo(variance.dtype).tiny * 1e8
    return variance.clamp_min(LEAST_VARIANCE_RATIO * variance.amax(-1, keepdim=True).clamp_min(least))


def _shrunk(centred: Tensor, share: Tensor, weighted: bool) -> Tensor:
    """The covariance [N, D, D] with correlations that are shrunk by as much as the draws are few."""
    dim, variance = centred.shape[-1], _variance(centred, share)
    covariance = torch.einsum("sn,snd,sne->nde", share, centred, centred)
    independent = 1 / share.square().sum(0) / (1 if weighted else DRAWS_PER_INDEPENDENT)
    trust = (independent / (independent + dim + 1)).reshape(-1, 1, 1)
    return trust * covariance + torch.diag_embed(variance - trust.squeeze(-1) * covariance.diagonal(0, -1, -2))


def _as_triangle(covariance: Tensor) -> Tensor:
    """The Cholesky factor [N, D, D], or the standard deviations alone where there is none."""
    root, failed = torch.linalg.cholesky_ex(covariance)
    usable = (failed == 0) & root.isfinite().all(-1).all(-1)
    alone = torch.diag_embed(covariance.diagonal(0, -1, -2).sqrt())
    return torch.where(usable[:, None, None], root, alone)
