r"""Active units: latent dimensions whose posterior mean moves with the data (Burda, Grosse & Salakhutdinov 2016).

    A_u = Var_x E_q[z_u | x],   unit u is active where A_u > 0.01 Var p(z_u)

The threshold is theirs, for a prior of variance 1. In units of the prior's variance it says of every scale what it
says there: that a normal posterior's mean holds -log(1 - 0.01) / 2 = 0.005 nats about x. Where q has no mean in
closed form, or its mean depends on another site's draw, the expectation is an average of draws, and what their
noise adds to the variance is taken off again.

Burda, Grosse & Salakhutdinov (2016): https://arxiv.org/abs/1509.00519
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Categorical, TransformedDistribution

from ppl_vae.inference.pair.evaluation import data_per_chunk
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.latent_coordinates import coordinates, laid_out
from ppl_vae.inference.pair.masked_latents import require_unmasked
from ppl_vae.inference.pair.prior_spread import prior_moments, prior_variance
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.supports import bare
from ppl_vae.inference.pair.terms import Site, Terms
from ppl_vae.own_law import states

ACTIVE_THRESHOLD = 0.01


class CodeVariance(NamedTuple):
    """How far every latent dimension moves, all sites one after the other: [U] each.

    Attributes:
        of_means: Var_x E_q[z_u].
        of_prior: Var p(z_u).
    """

    of_means: Tensor
    of_prior: Tensor

    def active(self, threshold: float) -> Tensor:
        """Mark the dimensions that are active: [U]."""
        return self.of_means > threshold * self.of_prior


def code_variance(model: Program, guide: Program, x: Tensor, num_draws: int, labels: Batch = ()) -> CodeVariance:
    """Estimate how far the posterior means of every latent dimension move, and by its prior each could.

    Args:
        model: the generative program.
        guide: its guide.
        x: [N, *event_shape], N of at least 2.
        num_draws: per datum, at least 2, where the means are not known in closed form.
        labels: (y,) of a pair that takes them, [N].
    """
    data = (x, *labels)
    few = data_per_chunk(x, num_draws)
    draws = num_draws if needs_draws(run_terms(model, guide, tuple(part[:few] for part in data))) else 1
    batches = zip(*(part.split(data_per_chunk(x, draws)) for part in data), strict=True)
    runs = (run_terms(model, guide, batch, {}, draws) for batch in batches)
    parts = [(*expected_codes(terms), prior_moments(terms)) for terms in runs]
    means, noise, moments = zip(*parts, strict=True)
    return CodeVariance(variance_of_means(torch.cat(means), torch.cat(noise)), prior_variance(moments))


def needs_draws(terms: Terms) -> bool:
    """Tell whether some site's mean is known by draws alone."""
    return len(terms.sites) > 1 or any(_closed_form_mean(site) is None for site in _latent(terms))


def expected_codes(terms: Terms) -> tuple[Tensor, Tensor]:
    """Estimate E_q[z_u | x_n], and that estimate's variance, all sites one after the other: [N, U] each.

    Raises:
        ModelError: a site is masked for some data; it is named.
    """
    require_unmasked(terms)
    means, noise = [], []
    for site in _latent(terms):
        known = _closed_form_mean(site)
        values = coordinates(site.value if known is None else laid_out(known, site.value))
        alone = len(values) == 1 or (known is not None and len(terms.sites) == 1)
        means.append(values.mean(0))
        noise.append(torch.zeros_like(values[0]) if alone else values.var(0) / len(values))
    return torch.cat(means, -1), torch.cat(noise, -1)


def variance_of_means(means: Tensor, noise: Tensor) -> Tensor:
    """Estimate Var_x of the exact means from means [N, U] whose errors have the variance ``noise`` [N, U]: [U]."""
    return means.var(0) - noise.mean(0)


def _latent(terms: Terms) -> list[Site]:
    """The latent sites that the model has; a guide's auxiliary draws are no codes."""
    return [site for site in terms.sites.values() if site.p is not None]


def _closed_form_mean(site: Site) -> Tensor | None:
    # The mean that a flow states is the image of its base's mean, not an expectation.
    if isinstance(site.q, TransformedDistribution) or site.transforms or not states(site.q, "mean"):
        return None
    q = bare(site.q)
    if isinstance(q, Categorical):
        # torch states none of an index, which is a number all the same.
        return (q.probs * torch.arange(q.probs.shape[-1], device=q.probs.device)).sum(-1)
    try:
        return site.q.mean
    except NotImplementedError:
        return None
