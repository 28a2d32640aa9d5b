r"""ELBO surgery: the average KL as three parts, on the same draws.

    E_n KL(q(z|x_n) || p(z)) = I_q(n; z) + TC(q(z)) + sum_u KL(q(z_u) || p(z_u))

    I_q(n; z) = E[log q(z|x_n) - log q(z)]             index-code mutual information, at most log N
    TC = E[log q(z) - sum_u log q(z_u)]                total correlation of the aggregate posterior
    KL_u = E[log q(z_u) - log p(z_u)]                  dimension-wise KL

with q(z) = (1/N) sum_n q(z|x_n) over all N data given (Hoffman & Johnson 2016; Chen, Li, Grosse & Duvenaud 2018,
equation 2, https://arxiv.org/abs/1802.04942). A batch in place of all data would bias the first two; none is taken.

What has a closed form is not drawn: E log q(z|x_n) and E log p(z), and so the average KL. The two others are drawn
with the Gaussians of the aggregate's own mean and covariance as control variates, whose expectations are known for
every datum. So the numbers are means over data of terms of a datum, whose spread is their error.

N data are not their population: a draw's own datum is in the mixture, which raises log q(z) by (V - 1) / (2N) or
so, V = E[q(z|x_n) / q(z)], and the mixture without it lowers it by as much. The parts of the population take the
middle of the two, which is right but for terms in 1/N^2, where the own datum's share of the mixture is small.
"""

from __future__ import annotations

import math

import torch
import xarray as xr
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.given import admitted
from ppl_vae.diagnostics.importance.given_global import mean_over_draws
from ppl_vae.diagnostics.verdict import Verdict, level_of, require_finite, require_table
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.at_global import at_global_draws
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import data_per_chunk, evaluating
from ppl_vae.inference.pair.latent_coordinates import laid_out
from ppl_vae.inference.pair.masked_latents import require_unmasked
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.terms import Site
from ppl_vae.inference.pair.validity import require_numbers
from ppl_vae.kl import diagonal_loc_scale
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword

AGGREGATE_STREAM = 62
INSTEAD = "run_reference draws from the posterior of all of them"
PARTS = ("mutual_information", "total_correlation", "dimension_wise_kl")
# Numbers in one block: draws times data times latent dimensions.
BLOCK_NUMBERS = 1 << 22
#: The share of the KL that may be a mismatch of aggregate posterior and prior.
GOOD, POOR = 0.1, 0.5
#: The largest mean share of the own datum in the mixture from which the population's parts are told.
MOST_OWN = 0.05


@by_keyword("seed")
@torch.no_grad()
def run_aggregate(
    pair: PairLike, x: Data, num_samples: int = 1, *, num_global: int = 10, seed: int = 0
) -> xr.Dataset:
    """Compute the three parts of the average KL.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs; one latent site, whose
            guide and prior are diagonal Gaussians, the prior the same for all data.
        x: [N, *event_shape]; the aggregate posterior is that of these data.
        num_samples: draws per datum.
        num_global: draws of the global sites of a pair that has any; the numbers are given each draw, and averaged.
        seed: of the draws.

    Returns:
        Scalars ``average_kl``, ``mutual_information``, ``total_correlation``, ``dimension_wise_kl``, nats per
        datum; the first is exactly the sum of the others. Each has an ``..._stderr`` over data and draws, the
        control variates counted. Where a part is 0 in the population and its estimate a square of noise, that is
        up to a half too large. The last three with ``..._population``: NaN where ``own_share``, the mean share of
        a draw's own datum in the mixture, is above 0.05. Over "latent": ``kl`` of each dimension's aggregate.
        ``attrs["most_information"]`` is log N.

    Raises:
        ModelError: the pair or a setting is refused; or there are several sites, or another family: it is named.
        DataError: fewer than 2 data, or the likelihood has no density for some value.
    """
    num_samples = integer("num_samples", num_samples)
    given = admitted(pair, x, least=2)
    source = derived_seed(seed, AGGREGATE_STREAM, 1)
    held = at_global_draws(given, integer("num_global", num_global), source, INSTEAD)
    if held:
        return mean_over_draws([_parts(each, num_samples, seed) for each in held])
    return _parts(given, num_samples, seed)


def _parts(given: Conditioned, num_samples: int, seed: int) -> xr.Dataset:
    """The parts of a pair of one level."""
    draws, moments = [], []
    prior: Tensor | None = None
    with evaluating(*given.programs, seed=derived_seed(seed, AGGREGATE_STREAM), device=given.x.device):
        for part in given.split(data_per_chunk(given.x, num_samples)):
            terms = run_terms(*part.programs, part.batch, {}, num_samples)
            require_unmasked(terms)
            require_numbers(terms)
            site = _only_site(list(terms.sites.values()))
            moments.append(_of_draws(site, site.q)[:, 0])
            prior = _of_all(site, prior)
            draws.append(_vector(site, site.value).double())
    assert prior is not None
    z, (loc, scale) = torch.cat(draws, 1), torch.cat(moments, 1)
    logs = _Logs(z, loc, scale, *prior)
    parts = logs.parts(logs.joint, logs.alone)
    table = xr.Dataset(attrs={"num_data": len(given), "num_samples": num_samples, "seed": seed})
    for name, of_unit in parts.items():
        per_datum = of_unit.sum(-1)
        table[name] = per_datum.mean().item()
        table[f"{name}_stderr"] = per_datum.std().item() / math.sqrt(len(per_datum))
    for name, value in logs.of_population().items():
        table[f"{name}_population"] = value
    table["kl"] = "latent", parts["dimension_wise_kl"].mean(0).cpu().numpy()
    table["own_share"] = logs.own_share.item()
    return table.assign_attrs(most_information=math.log(len(given)), units="nats per datum")


def check_aggregate(numbers: xr.Dataset) -> Verdict:
    """Judge how much of the average KL is no information: total correlation and dimension-wise KL.

    Up to a tenth of it is "good": the aggregate posterior is the prior, and draws of the prior are codes of data.
    Over a half is "bad".

    Raises:
        DataError: numbers are not what ``run_aggregate`` gave, or one is NaN or infinite.
    """
    require_table("numbers", numbers, "run_aggregate", ("average_kl", *PARTS))
    for name in ("average_kl", *PARTS):
        require_finite("numbers", name, numbers[name].values)
    information, correlation, marginal = (numbers[name].item() for name in PARTS)
    total = numbers["average_kl"].item()
    errors = [numbers[f"{name}_stderr"].item() for name in PARTS[1:]]
    share = (correlation + marginal) / total if total > 0 else math.nan
    error = math.hypot(*errors) / total if total > 0 else math.nan
    level = level_of(share, error, GOOD, POOR)
    words = (
        f"Of {total:.3f} nats of KL {information:.3f} tell data apart (at most "
        f"{numbers.attrs['most_information']:.2f} could), {correlation:.3f} are correlation of the aggregate "
        f"posterior, and {marginal:.3f} its dimensions' distance to the prior's."
    )
    poor = level in ("bad", "doubtful")
    advice = "Learn the prior (prior='vamp' or 'flow'), or fit one to the codes." if poor else ""
    threshold = f"share of the KL that is no information: {GOOD:g} and {POOR:g}"
    return Verdict("aggregate posterior", level, share, error, "", threshold, words, advice)


def _only_site(sites: list[Site]) -> Site:
    named = [site.name for site in sites]
    if len(sites) != 1:
        raise ModelError(f"the aggregate posterior is taken apart for one latent site, found {named}")
    (site,) = sites
    for which, family in (("guide", site.q), ("prior", site.p)):
        try:
            if family is None or family.event_shape != site.value.shape[2:] or site.value.dim() > 3:
                raise NotImplementedError
            diagonal_loc_scale(family)
        except NotImplementedError:
            raise ModelError(
                f"site {site.name!r}: expected a diagonal Gaussian of a number or a vector in the {which}"
            ) from None
    return site


def _vector(site: Site, values: Tensor) -> Tensor:
    """Numbers of a site [*batch, *event] as vectors: a latent that is one number has one dimension."""
    return values if site.value.dim() == 3 else values.unsqueeze(-1)


def _of_draws(site: Site, family: dist.TorchDistribution) -> Tensor:
    """Location and scale of a diagonal Gaussian at each draw: [2, K, N, U]."""
    parts = [laid_out(part, site.value) for part in diagonal_loc_scale(family)]
    return torch.stack([_vector(site, part) for part in parts]).double()


def _of_all(site: Site, known: Tensor | None) -> Tensor:
    """Location and scale of the one prior that all data have: [2, U].

    Raises:
        ModelError: some have another, of which the aggregate of all is no posterior.
    """
    assert site.p is not None
    priors = _of_draws(site, site.p).flatten(1, 2)
    first = priors[:, 0] if known is None else known
    if not torch.equal(priors, first.unsqueeze(1).expand_as(priors)):
        raise ModelError(
            f"site {site.name!r}: its prior is another for some data, as one given covariates is; the aggregate "
            "posterior is compared with one prior of all"
        )
    return first


class _Logs:
    """The log densities of draws z [K, N, U] of q(z|x_n), moments [N, U], under all that the parts are made of."""

    def __init__(self, z: Tensor, loc: Tensor, scale: Tensor, prior_loc: Tensor, prior_scale: Tensor) -> None:
        self.log_q = _log_normal(z, loc, scale)
        joint, alone = _log_aggregate(z.flatten(0, 1), loc, scale)
        self.joint, self.alone = joint.unflatten(0, z.shape[:2]).unsqueeze(-1), alone.unflatten(0, z.shape[:2])
        # E log q(z|x_n) and E log p(z) of every datum [N, U], in closed form.
        self.exact_q = -0.5 * math.log(2 * math.pi * math.e) - scale.log()
        moved = ((loc - prior_loc).square() + scale.square()) / prior_scale.square()
        self.exact_p = -0.5 * (moved + math.log(2 * math.pi)) - prior_scale.log()
        # The mixture's own mean and covariance.
        self.centred, self.loc, self.scale = z - loc.mean(0), loc - loc.mean(0), scale
        self.covariance = self.loc.mT @ self.loc / len(loc) + torch.diag(scale.square().mean(0))

    def parts(self, joint: Tensor, alone: Tensor) -> dict[str, Tensor]:
        """The average KL and its parts of every datum [N, U]; summed over their last dimension they add up.

        Args:
            joint: log q(z) of the draws [K, N, 1].
            alone: log q(z_u) of them [K, N, U].
        """
        together, apart = self._controlled_joint(joint), self._controlled_alone(alone)
        log_q, all_apart = self.exact_q.sum(-1, keepdim=True), apart.sum(-1, keepdim=True)
        return {
            "average_kl": log_q - self.exact_p.sum(-1, keepdim=True),
            "mutual_information": log_q - together,
            "total_correlation": together - all_apart,
            "dimension_wise_kl": apart - self.exact_p,
        }

    def _controlled_joint(self, joint: Tensor) -> Tensor:
        """E log q(z) of every datum [N, 1]: half a squared distance from the mixture's mean is known of each."""
        factor = torch.linalg.cholesky(self.covariance)
        # Standard deviations as the rows of diagonal matrices, one for each datum.
        spreads = torch.linalg.solve_triangular(factor, torch.diag_embed(self.scale), upper=False)
        white, loc = (
            torch.linalg.solve_triangular(factor, rows.reshape(-1, len(factor)).mT, upper=False).square().sum(0)
            for rows in (self.centred, self.loc)
        )
        expected = loc + spreads.square().sum((1, 2))
        return _controlled(joint, -0.5 * white.reshape(joint.shape), -0.5 * expected.unsqueeze(-1))

    def _controlled_alone(self, alone: Tensor) -> Tensor:
        """E log q(z_u) of every datum [N, U], likewise."""
        variance = self.covariance.diagonal()
        expected = (self.loc.square() + self.scale.square()) / variance
        return _controlled(alone, -0.5 * self.centred.square() / variance, -0.5 * expected)

    @property
    def own_share(self) -> Tensor:
        """The mean share that a draw's own datum has in the mixture."""
        return self._shares(self.log_q.sum(-1, keepdim=True), self.joint).mean()

    def _shares(self, own: Tensor, mixture: Tensor) -> Tensor:
        return (own - mixture).exp() / self.joint.shape[1]

    def of_population(self) -> dict[str, float]:
        """The three parts of mixtures half with and half without a draw's own datum; NaN where it weighs much."""
        both = []
        for own, mixture in ((self.log_q.sum(-1, keepdim=True), self.joint), (self.log_q, self.alone)):
            share = self._shares(own, mixture).clamp(max=1 - 1e-6)
            both.append(mixture + 0.5 * (torch.log1p(-share) - math.log1p(-1 / self.joint.shape[1])))
        found = self.parts(*both)
        known = bool(self.own_share <= MOST_OWN)
        return {name: found[name].sum(-1).mean().item() if known else math.nan for name in PARTS}


def _controlled(values: Tensor, variate: Tensor, expectation: Tensor) -> Tensor:
    """The mean over draws of values [K, N, U], with a control variate whose expectation [N, U] is known: [N, U]."""
    moved = variate - variate.mean((0, 1))
    slope = (values * moved).sum((0, 1)) / moved.square().sum((0, 1)).clamp_min(1e-300)
    return (values - slope * (variate - expectation)).mean(0)


def _log_normal(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return -0.5 * (((z - loc) / scale).square() + math.log(2 * math.pi)) - scale.log()


def _log_aggregate(z: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Compute log q(z) [M] and log q(z_u) [M, U] of draws [M, U] under the mixture over data [N, U]."""
    num_data, width = loc.shape
    joint, alone = [], []
    for block in z.split(max(1, BLOCK_NUMBERS // (num_data * width))):
        density = _log_normal(block.unsqueeze(1), loc, scale)
        joint.append(density.sum(-1).logsumexp(1))
        alone.append(density.logsumexp(1))
    return torch.cat(joint) - math.log(num_data), torch.cat(alone) - math.log(num_data)
