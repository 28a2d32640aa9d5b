r"""Objectives on the aggregate posterior q(z) = (1/N) sum_n q(z|x_n), estimated from the codes of one batch.

    average KL(q(z|x) || p(z)) = I_q(x; z) + TC(q(z)) + sum_j KL(q(z_j) || p(z_j))    (Chen et al. 2018, eq. 2)

All need one local site with a diagonal Gaussian guide; global sites add their plain share of the ELBO.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ppl_vae.checks import positive, real, whole
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.objectives.weightings import Weighting
from ppl_vae.inference.pair.masked_latents import require_unmasked
from ppl_vae.inference.pair.terms import Site, Terms
from ppl_vae.kl import diagonal_loc_scale


class TotalCorrelation(Weighting):
    """The beta-TCVAE objective log p(x|z) - alpha I - beta TC - gamma sum_j KL_j.

    At alpha = beta = gamma = 1 it is exactly MonteCarloKL on the same draws, whatever the batch.

    Chen, Li, Grosse & Duvenaud (2018): https://arxiv.org/abs/1802.04942

    Args:
        elbo: an estimator that separates its KL, or its name.
        num_data: N, the size of the training set.
        alpha: weight of the index-code mutual information.
        beta: weight of the total correlation (6 in the paper).
        gamma: weight of the dimension-wise KL.
        sampling: how a batch stands for all data: "weighted" (MWS) or "stratified" (MSS).
    """

    least_batch = 2

    def __init__(
        self,
        elbo: str | Objective,
        num_data: int,
        alpha: float = 1.0,
        beta: float = 6.0,
        gamma: float = 1.0,
        sampling: Literal["weighted", "stratified"] = "stratified",
    ) -> None:
        super().__init__(elbo)
        self.require_separate_kl()
        if sampling not in ("weighted", "stratified"):
            raise ModelError(f"sampling must be 'weighted' or 'stratified', got {sampling!r}")
        self.num_data = whole("num_data", num_data, least=2)
        self.alpha, self.beta, self.gamma = (
            real(name, weight, least=0) for name, weight in (("alpha", alpha), ("beta", beta), ("gamma", gamma))
        )
        self.sampling = sampling

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the objective: a scalar, nats per datum."""
        information, correlation, dimension_wise = self.decompose(terms)
        penalty = self.alpha * information + self.beta * correlation + self.gamma * dimension_wise
        return penalty.mean() - terms.log_likelihood.mean() + self.estimator.global_loss(terms)

    def decompose(self, terms: Terms) -> tuple[Tensor, Tensor, Tensor]:
        """Estimate I, TC and the dimension-wise KL from one draw: [K, N] each, nats."""
        site = _only_site(terms)
        joint, product = log_aggregate_posterior(site, self._log_shares(site))
        return terms.log_guide - joint, joint - product, product - terms.log_prior

    def _log_shares(self, site: Site) -> Tensor:
        size = site.value.shape[1]
        if size > self.num_data:
            raise ModelError(f"num_data = {self.num_data} is smaller than a batch of {size}")
        shares = weighted_shares if self.sampling == "weighted" else stratified_shares
        return shares(size, self.num_data).log().to(site.value)

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        weights = f"alpha={self.alpha}, beta={self.beta}, gamma={self.gamma}"
        return f"num_data={self.num_data}, {weights}, sampling={self.sampling!r}"


def weighted_shares(size: int, num_data: int) -> Tensor:
    """Minibatch weighted sampling: every datum of a batch stands for 1 / (N B) (Chen et al. 2018, eq. 6): [B, B].

    With the whole data as the batch each density is too small by a factor of N.
    """
    return torch.full((size, size), 1 / (num_data * size), dtype=torch.float64)


def stratified_shares(size: int, num_data: int) -> Tensor:
    """Minibatch stratified sampling (Chen et al. 2018, appendix C.2): [B, B], rows sum to one.

    Row n gives its own datum 1/N, one other (N - M) / (N M) and the rest 1/M, with M = B - 1, so that the
    mean over random batches is q(z) exactly.
    """
    if size < 2:
        raise ModelError("stratified sampling needs batches of at least 2 data")
    others = size - 1
    shares = torch.full((size, size), 1 / others, dtype=torch.float64)
    index = torch.arange(size)
    shares[index, index] = 1 / num_data
    shares[index, (index + 1) % size] = (num_data - others) / (num_data * others)
    return shares


def log_aggregate_posterior(site: Site, log_shares: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate log q(z) and sum_j log q(z_j) at a batch's own codes: [K, N] each.

    Args:
        site: with codes [K, N, *event], of d coordinates.
        log_shares: log of how much of the data each datum stands for, row by row: [N, N].
    """
    loc, scale = _loc_scale(site)
    standard = (_flat(site, site.value).unsqueeze(2) - loc) / scale
    log_density = -0.5 * standard.square() - scale.log() - 0.5 * math.log(2 * math.pi)  # [K, N, N, d]
    joint = (log_density.sum(-1) + log_shares).logsumexp(2)
    product = (log_density + log_shares.unsqueeze(-1)).logsumexp(2).sum(-1)
    return joint, product


class MMD(Weighting):
    """The InfoVAE objective log p(x|z) - (1 - alpha) KL - (alpha + scale - 1) MMD^2(q(z), p(z)), eq. 6.

    alpha = 0 and scale = 1 is the ELBO; alpha = 1 leaves only the MMD, the Wasserstein autoencoder's penalty. MMD^2
    is the U-statistic between the batch's codes and as many draws from the prior; it may be negative.

    Zhao, Song & Ermon (2019): https://arxiv.org/abs/1706.02262

    Args:
        elbo: an estimator that separates its KL, or its name.
        alpha: what share of the KL is taken away.
        scale: lambda of the paper.
        length: of the Gaussian kernel exp(-|a-b|^2 / (2 length^2)); None is sqrt(latent_dim).
    """

    least_batch = 2

    def __init__(
        self, elbo: str | Objective, alpha: float = 0.0, scale: float = 10.0, length: float | None = None
    ) -> None:
        super().__init__(elbo)
        self.require_separate_kl()
        self.alpha, self.scale = real("alpha", alpha), real("scale", scale, least=0)
        self.length = None if length is None else positive("length", length)
        if self.alpha > 1 or self.alpha + self.scale < 1:
            raise ModelError(
                f"MMD needs alpha of at most 1 and alpha + scale of at least 1, got {alpha} and {scale}: "
                "otherwise the objective would reward a divergence"
            )

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the objective, nats per datum, plus the weighted MMD^2."""
        site = _only_site(terms)
        loss = (1 - self.alpha) * self.estimator.kl(terms).mean() - terms.log_likelihood.mean()
        loss = loss + self.estimator.global_loss(terms)
        weight = self.alpha + self.scale - 1
        if weight == 0:
            return loss
        assert site.p is not None
        prior_draws = _flat(site, site.p.expand(site.value.shape[:2]).sample()[0])
        codes = _flat(site, site.value[0])
        return loss + weight * squared_mmd(codes, prior_draws, self.length or math.sqrt(codes.shape[-1]))

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"alpha={self.alpha}, scale={self.scale}, length={self.length}"


def squared_mmd(a: Tensor, b: Tensor, length: float) -> Tensor:
    """The U-statistic of the squared maximum mean discrepancy (Gretton et al. 2012, eq. 3), Gaussian kernel.

    Args:
        a: [n, d].
        b: [m, d].
        length: of the kernel.
    """
    return mmd_of_kernels(_kernel(a, a, length), _kernel(b, b, length), _kernel(a, b, length))


def mmd_of_kernels(within_a: Tensor, within_b: Tensor, across: Tensor) -> Tensor:
    """The same of the kernel's values within the two sets, [n, n] and [m, m], and across them [n, m]."""
    n, m = across.shape
    # A point's kernel with itself is 1 and does not belong to the U-statistic.
    return (within_a.sum() - n) / (n * (n - 1)) + (within_b.sum() - m) / (m * (m - 1)) - 2 * across.mean()


def _kernel(a: Tensor, b: Tensor, length: float) -> Tensor:
    return (-0.5 * (a.unsqueeze(1) - b).square().sum(-1) / length**2).exp()


class DIP(Weighting):
    """The ELBO minus a distance of the codes' covariance C from the identity (DIP-VAE, Kumar et al. 2018).

    off_diagonal sum_{i != j} C_ij^2 + diagonal sum_i (C_ii - 1)^2; C is the covariance of the guide's means
    (kind "i", eq. 6) or of the aggregate posterior itself, with the mean variances added (kind "ii", eq. 7).

    Kumar, Sattigeri & Balakrishnan (2018): https://arxiv.org/abs/1711.00848
    """

    least_batch = 2

    def __init__(
        self,
        elbo: str | Objective,
        kind: Literal["i", "ii"] = "i",
        off_diagonal: float = 10.0,
        diagonal: float = 100.0,
    ) -> None:
        super().__init__(elbo)
        if kind not in ("i", "ii"):
            raise ModelError(f"kind must be 'i' or 'ii', got {kind!r}")
        self.kind = kind
        self.off_diagonal, self.diagonal = (
            real(name, weight, least=0) for name, weight in (("off_diagonal", off_diagonal), ("diagonal", diagonal))
        )
        self.passes_kl_weight = self.weighted.passes_kl_weight

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the objective, nats per datum, plus the penalty."""
        site = _only_site(terms)
        loc, scale = _loc_scale(site)
        # Not Tensor.cov, which compares values on the host.
        centred = loc - loc.mean(0)
        covariance = centred.mT @ centred / (len(loc) - 1)
        if self.kind == "ii":
            covariance = covariance + scale.square().mean(0).diag()
        diagonal = covariance.diagonal()
        off_diagonal = covariance.square().sum() - diagonal.square().sum()
        penalty = self.off_diagonal * off_diagonal + self.diagonal * (diagonal - 1).square().sum()
        return self.weighted.forward(terms, step) + penalty

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"kind={self.kind!r}, off_diagonal={self.off_diagonal}, diagonal={self.diagonal}"


def _flat(site: Site, values: Tensor) -> Tensor:
    """Values of a site [*batch, *event] as [*batch, d]: a scalar is one coordinate, a matrix many."""
    event = len(site.q.event_shape)
    return values.reshape(*values.shape[: values.dim() - event], -1)


def _loc_scale(site: Site) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the guide's Gaussians: [N, d] each."""
    loc, scale = (_flat(site, t.expand(site.value.shape)[0]) for t in diagonal_loc_scale(site.q))
    return loc, scale


def _only_site(terms: Terms) -> Site:
    if terms.log_likelihood.shape[1] < 2:
        raise ModelError("the aggregate posterior needs batches of at least 2 data")
    if len(terms.sites) != 1:
        raise ModelError(f"the aggregate posterior needs one latent site, got {list(terms.sites)}")
    (site,) = terms.sites.values()
    if site.standing is not None:
        raise ModelError(
            f"site {site.name!r}: the aggregate posterior needs a site in the data plate alone, at dim -1"
        )
    require_unmasked(terms)
    try:
        diagonal_loc_scale(site.q)
    except NotImplementedError:
        raise ModelError(f"site {site.name!r}: the aggregate posterior needs a diagonal Gaussian guide") from None
    return site
