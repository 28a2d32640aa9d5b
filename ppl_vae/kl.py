r"""Closed-form Kullback-Leibler divergences between Gaussians, in nats.

For q = N(m0, S0) and p = N(m1, S1) on R^d (Kullback 1959, ch. 9; the VAE's diagonal case is Kingma & Welling
2014, appendix B):

    KL(q || p) = 1/2 [ tr(S1^-1 S0) + (m1 - m0)' S1^-1 (m1 - m0) - d + log det S1 - log det S0 ]

With Cholesky factors S = L L' the trace is the squared Frobenius norm of L1^-1 L0 and the determinants are
sums over diagonals, so nothing is inverted. Where q and p are both diagonal the divergence is a sum over
coordinates. torch covers only some of these pairs (a MultivariateNormal against an Independent Normal, the
pair of a full-covariance guide, is missing); any other pair of distributions is left to torch's table. A class of a
user's own with its own density or draws has a closed form only where one is registered for it (``own_law``).

Kingma & Welling (2014), appendix B: https://arxiv.org/abs/1312.6114
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    ContinuousBernoulli,
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    Uniform,
    Wishart,
)
from torch.distributions import kl_divergence as torch_kl_divergence
from torch.distributions.kl import _KL_REGISTRY, _dispatch_kl, _kl_expfamily_expfamily

from ppl_vae.own_law import keeps_law, lawgiver, layers


def kl_divergence(q: Distribution, p: Distribution) -> Tensor:
    """The divergence KL(q || p), summed over the event: [*batch], nats.

    Args:
        q: the distribution that the expectation is over.
        p: the distribution it is compared with, of the same event shape.

    Raises:
        NotImplementedError: no closed form is known for this pair.
        ValueError: the event shapes differ.

    >>> from torch.distributions import Independent, Normal
    >>> q = Independent(Normal(torch.ones(2), torch.ones(2)), 1)
    >>> p = Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
    >>> kl_divergence(q, p)
    tensor(1.)
    """
    if q.event_shape != p.event_shape:
        raise ValueError(f"KL needs equal event shapes, got {list(q.event_shape)} and {list(p.event_shape)}")
    if _is_diagonal(q) and _is_diagonal(p):
        return _diagonal_kl(q, p)
    if (_is_full(q) and is_gaussian(p)) or (_is_full(p) and is_gaussian(q)):
        return _full_kl(q, p)
    return _torch_kl(q, p)


def coordinate_kl(q: Distribution, p: Distribution) -> Tensor:
    """The divergence KL(q_j || p_j) of every coordinate of two diagonal Gaussians: [*batch, *event], nats.

    Raises:
        NotImplementedError: q or p is not a diagonal Gaussian.
    """
    (loc0, scale0), (loc1, scale1) = diagonal_loc_scale(q), diagonal_loc_scale(p)
    ratio = scale0 / scale1
    # Its logarithm is taken before it is squared, which in single precision is 0 below exp(-51).
    variance_ratio = ratio.square()
    return 0.5 * (variance_ratio + ((loc0 - loc1) / scale1).square() - 1) - ratio.log()


def _torch_kl(q: Distribution, p: Distribution) -> Tensor:
    if _folds(q) or _folds(p):
        # Torch takes the divergence of the base distributions, which bounds that of what folds onto one another.
        raise NotImplementedError(f"no closed form: {q} or {p} has a transform that is not bijective")
    # Torch's divergence of Bernoullis does not broadcast one batch against another.
    if q.batch_shape != p.batch_shape:
        shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
        q, p = q.expand(shape), p.expand(shape)
    if isinstance(q, Categorical) and isinstance(p, Categorical) and q.param_shape != p.param_shape:
        # Torch's formula pairs the categories, and breaks.
        raise NotImplementedError("the two have not as many categories")
    if {Uniform, ContinuousBernoulli} <= {kind for d in (q, p) for kind in type(_unwrap(d)).__mro__}:
        # Torch compares their supports, both [0, 1], wrongly and says that it is infinite.
        raise NotImplementedError("torch has no right divergence of a Uniform and a ContinuousBernoulli")
    _require_registered(q, p)
    if isinstance(_unwrap(q), Wishart) and isinstance(_unwrap(p), Wishart):
        return _of_events(_wishart_kl(_unwrap(q), _unwrap(p)), q)
    if _dispatch_kl(type(_unwrap(q)), type(_unwrap(p))) is _kl_expfamily_expfamily:
        # Torch's rule for any exponential family: no gradient flows to q, and parameters are summed over batches.
        raise NotImplementedError(f"torch has no right divergence of {type(_unwrap(q)).__name__}")
    return torch_kl_divergence(q, p)


def _of_events(kl: Tensor, q: Distribution) -> Tensor:
    """The sum over what ``to_event`` has declared an event."""
    count = len(q.event_shape) - len(_unwrap(q).event_shape)
    return kl.flatten(-count).sum(-1) if count else kl


def _wishart_kl(q: Distribution, p: Distribution) -> Tensor:
    """The divergence of Wisharts W(n, V), W(m, U) of d x d matrices: [*batch], nats.

    m/2 log(|U| / |V|) + n/2 (tr(U^-1 V) - d) + log(Gamma_d(m/2) / Gamma_d(n/2)) + (n - m)/2 psi_d(n/2)
    """
    assert isinstance(q, Wishart)
    assert isinstance(p, Wishart)
    d, n, m = q.event_shape[-1], q.df, p.df
    tril_q, tril_p = (torch.linalg.cholesky(each.covariance_matrix) for each in (q, p))
    trace = torch.linalg.solve_triangular(tril_p, tril_q, upper=False).square().sum((-2, -1))
    log_ratio = 2 * (_log_diagonal(tril_p) - _log_diagonal(tril_q))
    digamma = torch.digamma(n.unsqueeze(-1) / 2 - torch.arange(d, dtype=n.dtype, device=n.device) / 2).sum(-1)
    log_gammas = torch.mvlgamma(m / 2, d) - torch.mvlgamma(n / 2, d)
    return m / 2 * log_ratio + n / 2 * (trace - d) + log_gammas + (n - m) / 2 * digamma


def _require_registered(q: Distribution, p: Distribution) -> None:
    """Refuse a divergence that is known of a base class, for a class with a law of its own.

    Raises:
        NotImplementedError: there is none for that class; it is named.
    """
    if keeps_law(q) and keeps_law(p):
        return
    for side, (one, other) in enumerate(((q, p), (p, q))):
        for law in filter(None, map(lawgiver, layers(one))):
            known = [
                kinds
                for kinds in _KL_REGISTRY
                if issubclass(kinds[side], law) and _has(one, kinds[side]) and _has(other, kinds[1 - side])
            ]
            if not known:
                raise NotImplementedError(
                    f"{law.__name__} has a law of its own; register a closed form for it by torch's register_kl"
                )


def _has(distribution: Distribution, kind: type) -> bool:
    return any(isinstance(layer, kind) for layer in layers(distribution))


def _folds(distribution: Distribution) -> bool:
    """Tell whether a transform sends several values to one, as abs and softmax do."""
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return isinstance(distribution, TransformedDistribution) and not all(
        transform.bijective for transform in distribution.transforms
    )


def _diagonal_kl(q: Distribution, p: Distribution) -> Tensor:
    per_coordinate = coordinate_kl(q, p)
    event_dims = tuple(range(-len(q.event_shape), 0))
    return per_coordinate.sum(event_dims) if event_dims else per_coordinate


def _full_kl(q: Distribution, p: Distribution) -> Tensor:
    (loc0, tril0), (loc1, tril1) = _loc_tril(q), _loc_tril(p)
    batch_shape = torch.broadcast_shapes(tril0.shape, tril1.shape)
    solved = torch.linalg.solve_triangular(tril1.expand(batch_shape), tril0.expand(batch_shape), upper=False)
    trace = solved.square().sum((-2, -1))
    difference = (loc1 - loc0).unsqueeze(-1)
    whitened = torch.linalg.solve_triangular(
        tril1.expand(*difference.shape[:-2], *tril1.shape[-2:]), difference, upper=False
    )
    mahalanobis = whitened.square().sum((-2, -1))
    half_log_dets = _log_diagonal(tril1) - _log_diagonal(tril0)
    return 0.5 * (trace + mahalanobis - loc0.shape[-1]) + half_log_dets


def _log_diagonal(tril: Tensor) -> Tensor:
    return tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _unwrap(d: Distribution) -> Distribution:
    while isinstance(d, Independent):
        d = d.base_dist
    return d


def _is_diagonal(d: Distribution) -> bool:
    return isinstance(_unwrap(d), Normal) and keeps_law(d)


def _is_full(d: Distribution) -> bool:
    return isinstance(d, MultivariateNormal | LowRankMultivariateNormal) and keeps_law(d)


def is_gaussian(d: Distribution) -> bool:
    """Tell whether a distribution of vectors is a Gaussian that the closed forms know."""
    return _is_full(d) or (_is_diagonal(d) and len(d.event_shape) == 1)


def diagonal_loc_scale(d: Distribution) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation [*batch, *event] of a diagonal Gaussian.

    Raises:
        NotImplementedError: the distribution is not a diagonal Gaussian.
    """
    base = _unwrap(d)
    if not _is_diagonal(d):
        raise NotImplementedError(f"{type(d).__name__} is not a diagonal Gaussian")
    assert isinstance(base, Normal)
    return base.loc, base.scale


def _loc_tril(d: Distribution) -> tuple[Tensor, Tensor]:
    """The mean [*batch, d] and the Cholesky factor [*batch, d, d] of the covariance."""
    if isinstance(d, MultivariateNormal):
        return d.loc, d.scale_tril
    if isinstance(d, LowRankMultivariateNormal):
        return d.loc, torch.linalg.cholesky(d.covariance_matrix)
    loc, scale = diagonal_loc_scale(d)
    return loc, torch.diag_embed(scale)
