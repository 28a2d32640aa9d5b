r"""Posterior collapse: active units, KL per dimension, and the parts of the average KL.

    A_u = Var_x E_q[z_u]                                     active where > 0.01 (Burda et al. 2016)
    KL_u = E_x KL(q(z_u|x) || p(z_u))                        per dimension, where q and p factorise
    E_x KL(q(z|x) || p(z)) = I_q(n; z) + KL(q(z) || p(z))    ELBO surgery (Hoffman & Johnson 2016)

with q(z) = (1/N) sum_n q(z|x_n) over the N data given, so that I_q(n; z) <= log N. A unit is (epsilon, delta)-
collapsed where its KL is below epsilon for a share 1 - delta of the data (Lucas et al. 2019).

Burda, Grosse & Salakhutdinov 2016, https://arxiv.org/abs/1509.00519; Lucas, Tucker, Grosse & Norouzi 2019,
https://arxiv.org/abs/1911.02469.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.distributions import Distribution, Independent

from ppl_vae.checks import integer, positive
from ppl_vae.containers import Data
from ppl_vae.diagnostics.collapse.aggregate_density import log_aggregate
from ppl_vae.diagnostics.given import admitted
from ppl_vae.diagnostics.importance.given_global import mean_over_draws
from ppl_vae.diagnostics.verdict import ERRORS, Level, Verdict, require_finite, require_table
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.active_units import ACTIVE_THRESHOLD, coordinates, expected_codes, laid_out
from ppl_vae.inference.pair.at_global import at_global_draws
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import data_per_chunk, evaluating
from ppl_vae.inference.pair.joint import log_joint
from ppl_vae.inference.pair.masked_latents import require_unmasked
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.terms import Site, Terms, per_datum
from ppl_vae.inference.pair.validity import require_numbers
from ppl_vae.kl import kl_divergence
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword, renamed

COLLAPSE_STREAM = 42
# The squared distances of two numbers from their mean are alike: their spread, 0, says nothing.
FEWEST_FOR_ERROR = 3
INSTEAD = "run_reference draws from the posterior of all of them"
NATS = "nats per datum"


@by_keyword("seed")
@torch.no_grad()
def run_collapse(
    pair: PairLike,
    x: Data,
    threshold: float = ACTIVE_THRESHOLD,
    epsilon: float = 0.01,
    num_samples: int = 10,
    *,
    num_global: int = 10,
    seed: int = 0,
) -> xr.Dataset:
    """Compute active units, KL per dimension, and the average KL in its two parts.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: [N, *event_shape], N of at least 2; the aggregate posterior is that of these data.
        threshold: the variance of a dimension's posterior means above which it is active.
        epsilon: the KL, in nats, below which a dimension counts as collapsed on a datum.
        num_samples: draws per datum.
        num_global: draws of the global sites of a pair that has any; the numbers are given each draw, and averaged.
        seed: of the draws; torch's global generators are left as they were.

    Returns:
        Over "latent", the dimensions of all sites one after the other, by number, without those that are one number
        under guide and prior alike: ``posterior_mean_variance`` and its standard error over data (NaN of two data),
        ``active``,
        ``kl`` and its error (NaN where q or p does not factorise),
        ``collapsed_share`` (NaN also where that KL is known by draws alone, as where guide and model draw in
        different orders). Over "site": ``site_kl``. Scalars: ``active_units``, ``average_kl``,
        ``mutual_information``, ``marginal_kl`` with errors over data and draws; the first is exactly the sum of
        the others (all three by Monte Carlo on the same draws). Where q(z) of the population is p(z), the
        estimate of ``marginal_kl`` is a square of noise, and its error up to a third too large. The latter two
        are NaN where the guide's density is known at its own draws alone; ``marginal_kl`` also where the prior
        depends on covariates.

    Raises:
        ModelError: the pair or a setting is refused; it is named.
        DataError: fewer than 2 data, or the likelihood has no density for some value.
    """
    num_samples = integer("num_samples", num_samples, least=2)
    threshold, epsilon = positive("threshold", threshold), positive("epsilon", epsilon)
    given = admitted(pair, x, least=2)
    settings = _Settings(threshold, epsilon, num_samples, seed)
    held = at_global_draws(
        given, integer("num_global", num_global), derived_seed(seed, COLLAPSE_STREAM, 1), INSTEAD
    )
    if not held:
        return _collapse(given, settings)
    table = mean_over_draws([_collapse(each, settings) for each in held])
    table["active"] = table["posterior_mean_variance"] > threshold
    table["active_units"] = table["active"].sum()
    return table


@dataclass(frozen=True)
class _Settings:
    """The settings of ``run_collapse``."""

    threshold: float
    epsilon: float
    num_samples: int
    seed: int


def _collapse(given: Conditioned, settings: _Settings) -> xr.Dataset:
    """The numbers of a pair of one level."""
    data, seed, num_samples = given.x, settings.seed, settings.num_samples
    threshold, epsilon = settings.threshold, settings.epsilon
    with evaluating(*given.programs, seed=derived_seed(seed, COLLAPSE_STREAM), device=data.device):
        size = data_per_chunk(data, num_samples)
        passes = [_Pass(run_terms(*batch.programs, batch.batch, {}, num_samples)) for batch in given.split(size)]
        is_conditional = _has_conditional_prior(given[:size], passes[0])
        found = _Pass.joined(passes)
        log_density = log_aggregate(given, found.values)
    attributes = asdict(settings) | {"num_data": len(data), "closed_form": "; ".join(found.closed_form)}
    table = xr.Dataset(
        {**_units(found, threshold, epsilon), **_surgery(found, log_density)},
        {"latent": range(found.means.shape[1]), "site": list(found.values), "latent_site": ("latent", found.owner)},
        attributes,
    )
    if not found.still.all():
        table = table.isel(latent=(~found.still).nonzero().squeeze(1).cpu().numpy())
    table["active_units"] = table["active"].sum()
    if is_conditional:
        for name in ("marginal_kl", "marginal_kl_stderr"):
            table[name] = (
                (),
                math.nan,
                {"description": "no one prior: it depends on the covariates", "units": NATS},
            )
    return table


def _has_conditional_prior(given: Conditioned, found: _Pass) -> bool:
    """Tell whether p(z|c) of the same z moves with the covariates, so that there is no one p(z) to be far from."""
    if not given.covariates or len(given) < 2:
        return False
    others = Conditioned(given.programs, (given.x, *(c.roll(1, 0) for c in given.covariates)))
    moved = log_joint(others.model, given.x, found.values).log_prior
    return not torch.allclose(moved, found.log_prior, rtol=1e-4, atol=1e-4)


class _Pass:
    """The statistics of one run of the pair; those of several runs are joined along the data."""

    def __init__(self, terms: Terms) -> None:
        if not terms.sites:
            raise ModelError("the model has no latent site: there is nothing that could collapse")
        require_numbers(terms)
        require_unmasked(terms)
        for site in terms.sites.values():
            if site.p is None:
                raise ModelError(
                    f"site {site.name!r} is auxiliary: what the guide says of a latent dimension is "
                    f"no distribution "
                    "of a single site"
                )
        self.values = {name: site.value for name, site in terms.sites.items()}
        self.owner = [name for name, site in terms.sites.items() for _ in range(site.value[0, 0].numel())]
        self.means, self.noise = expected_codes(terms)
        self.still = torch.cat([_still(site) for site in terms.sites.values()])
        by_unit = [_unit_kl(site, terms.same_order) for site in terms.sites.values()]
        self.kl = torch.cat([kl for kl, _ in by_unit], -1)
        # What is counted of single data is known of exact KLs alone: noise takes some below any limit.
        self.exact = torch.cat([torch.full(kl.shape[1:], closed, device=kl.device) for kl, closed in by_unit])
        by_site = {name: _site_kl(terms, site) for name, site in terms.sites.items()}
        self.closed_form = [name for name, (_, closed) in by_site.items() if closed]
        self.site_kl = torch.stack([kl for kl, _ in by_site.values()], -1)
        self.log_guide, self.log_prior = terms.log_guide, terms.log_prior

    @staticmethod
    def joined(passes: list[_Pass]) -> _Pass:
        """Join the data of several runs."""
        whole_run = passes[0]
        whole_run.values = {name: torch.cat([p.values[name] for p in passes], 1) for name in whole_run.values}
        for name in ("means", "noise", "kl", "site_kl"):
            setattr(whole_run, name, torch.cat([vars(p)[name] for p in passes]))
        for name in ("log_guide", "log_prior"):
            setattr(whole_run, name, torch.cat([vars(p)[name] for p in passes], 1))
        whole_run.still = torch.stack([p.still for p in passes]).all(0)
        return whole_run


def _still(site: Site) -> Tensor:
    """Mark the coordinates [U] that are one number in guide and prior, as the zeros of a triangular matrix are."""
    drawn = coordinates(site.value)
    still = (drawn == drawn[:1, :1]).flatten(0, 1).all(0)
    if not still.any() or site.p is None:
        return torch.zeros_like(still)
    with torch.random.fork_rng([drawn.device] if drawn.is_cuda else []):
        try:
            of_prior = site.p.sample().reshape(-1, drawn.shape[-1])
        except NotImplementedError:
            return torch.zeros_like(still)
    return still & (of_prior == drawn[0, :1]).all(0)


def _unit_kl(site: Site, closed: bool) -> tuple[Tensor, bool]:
    """Compute the KL of every dimension and datum [N, U], NaN where not independent; and whether it is exact.

    Args:
        site: a latent site.
        closed: whether a closed form may be taken, in the place of a mean of draws.
    """
    shape = site.value.shape
    q, p = _coordinates(site.q), _coordinates(site.p)
    if q is None or p is None:
        return site.value.new_full((shape[1], shape[2:].numel()), math.nan), False
    try:
        if not closed:
            raise NotImplementedError
        kl = kl_divergence(q, p)
    except NotImplementedError:
        kl, closed = q.log_prob(site.draw) - p.log_prob(site.read), False
    return coordinates(laid_out(kl, site.value)).mean(0), closed


def _coordinates(d: Distribution | None) -> Distribution | None:
    """The distribution of single coordinates of a site whose coordinates are independent."""
    while isinstance(d, Independent):
        d = d.base_dist
    return d if d is not None and not d.event_shape else None


def _site_kl(terms: Terms, site: Site) -> tuple[Tensor, bool]:
    """Compute the KL of a whole site [N], and whether it is in closed form."""
    try:
        # In another order than the model's the guide's draw moves the prior that it is compared with.
        terms.require_same_order()
        return terms.kl(site.name).mean(0), True
    except ModelError:
        log_ratio = site.q.log_prob(site.draw)
        if site.p is not None:
            log_ratio = log_ratio - site.p.log_prob(site.value)
        shape = terms.log_likelihood.shape
        return per_datum(site.name, log_ratio, shape, site.scale, site.mask).mean(0), False


def _units(found: _Pass, threshold: float, epsilon: float) -> dict[str, object]:
    """Collect the numbers of every latent dimension and of every site."""
    centred = found.means - found.means.mean(0)
    variance = centred.square().sum(0) / (len(centred) - 1) - found.noise.mean(0)
    error = (centred.square() - found.noise).std(0) / math.sqrt(len(centred))
    if len(centred) < FEWEST_FOR_ERROR:
        error = torch.full_like(error, math.nan)
    kl, site_kl = found.kl, found.site_kl
    share = torch.where(kl.isnan() | ~found.exact, math.nan, (kl < epsilon).to(kl)).mean(0)
    return {
        "posterior_mean_variance": _over("latent", variance, "Var_x E_q[z_u]", "1"),
        "posterior_mean_variance_stderr": _over("latent", error, "over data", "1"),
        "active": _over("latent", variance > threshold, "posterior_mean_variance above threshold", "1"),
        "kl": _over("latent", kl.mean(0), "E_x KL(q(z_u|x) || p(z_u))", NATS),
        "kl_stderr": _over("latent", kl.std(0) / math.sqrt(len(kl)), "over data", NATS),
        "collapsed_share": _over("latent", share, "share of the data with a KL below epsilon", "1"),
        "site_kl": _over("site", site_kl.mean(0), "closed form for the sites named in closed_form", NATS),
        "site_kl_stderr": _over("site", site_kl.std(0) / math.sqrt(len(kl)), "over data and draws", NATS),
    }


def _over(dim: str, values: Tensor, description: str, units: str) -> tuple[str, object, dict[str, str]]:
    return dim, values.cpu().numpy(), {"description": description, "units": units}


def _surgery(found: _Pass, log_density: Tensor | None) -> dict[str, object]:
    """Compute the average KL and its two parts on the same draws."""
    num_data = found.log_guide.shape[1]
    used = len(log_density) if log_density is not None else len(found.log_guide)
    log_q, log_p = (t[:used].double() for t in (found.log_guide, found.log_prior))
    aggregate = torch.full_like(log_q, math.nan) if log_density is None else log_density
    variables: dict[str, object] = {"log_num_data": ((), math.log(num_data), {"units": "nats"})}
    for name, draws, description in (
        ("average_kl", log_q - log_p, "E_x KL(q(z|x) || p(z)), by Monte Carlo"),
        ("mutual_information", log_q - aggregate, "I_q(n; z), at most log_num_data"),
        ("marginal_kl", aggregate - log_p, "KL(q(z) || p(z)), q(z) the mean over the data"),
    ):
        values = draws.mean(0)
        error = values.std().item() / math.sqrt(num_data)
        variables[name] = ((), values.mean().item(), {"description": description, "units": NATS})
        variables[f"{name}_stderr"] = ((), error, {"description": "over data and draws", "units": NATS})
    return variables


@renamed(table="numbers")
def check_collapse(numbers: xr.Dataset) -> Verdict:
    """Judge how many latent dimensions are used.

    Args:
        numbers: of ``run_collapse``.

    Returns:
        "good" where every dimension is active, "doubtful" where some are not, "bad" where none is; "unknown" where
        that depends on variances within two standard errors of the threshold, or of two data, which show none.

    Raises:
        DataError: the numbers are none of ``run_collapse``, or the variances are NaN or infinite.
    """
    columns = ("active", "posterior_mean_variance", "posterior_mean_variance_stderr")
    names = (*columns, "mutual_information", "log_num_data")
    require_table("table", numbers, "run_collapse", names, ("latent",))
    for name in ("posterior_mean_variance", "log_num_data"):
        require_finite("table", name, numbers[name])
    if not numbers["mutual_information"].isnull():
        require_finite("table", "mutual_information_stderr", numbers["mutual_information_stderr"])
    active = numbers["active"].to_numpy()
    idle = np.flatnonzero(~active)
    clear = _clear(numbers)
    level: Level = "good" if not len(idle) else "doubtful" if len(idle) < len(active) else "bad"
    # One that is active and one that is not are enough for "doubtful", whatever the others are.
    if not clear.all() and not ((clear & active).any() and (clear & ~active).any()):
        level = "unknown"
    which = _which(numbers, idle, len(active))
    words = f"{active.sum()} of {len(active)} latent dimensions are active{which}."
    information = float(numbers["mutual_information"])
    if not math.isnan(information):
        error, most = float(numbers["mutual_information_stderr"]), float(numbers["log_num_data"])
        # Rounded first: a little below zero is no -0.00.
        told = round(information, 3) + 0.0
        words += f" The code holds {told:.3f} ± {error:.3f} nats of information about which datum it came from"
        words += f" (at most log N = {most:.2f})." if information < 0.9 * most else ", all that N data can show."
    if not clear.all():
        words += f" {(~clear).sum()} of them are {_why_not(numbers)}."
    advice = {
        "good": "",
        "unknown": "Take more data: whether dimensions are active is not known.",
        "doubtful": "Idle dimensions do no harm; if the code should hold more, lower or anneal the KL's weight, "
        "set free bits, or train longer; else take fewer dimensions.",
        "bad": "The decoder ignores the code: anneal the KL's weight, set free bits, weaken the decoder, or lower "
        "beta and sigma.",
    }[level]
    return Verdict(
        diagnostic="Active units",
        level=level,
        value=float(active.sum()),
        unit=f"of {len(active)}",
        threshold=f"Var_x E_q[z_u] > {numbers.attrs['threshold']:g} (Burda et al. 2016)",
        words=words,
        advice=advice,
    )


def _clear(table: xr.Dataset) -> np.ndarray:
    """Mark the dimensions more than two standard errors from the threshold, on either side: [U]."""
    distance = abs(table["posterior_mean_variance"].to_numpy() - table.attrs["threshold"])
    return np.asarray(distance > ERRORS * table["posterior_mean_variance_stderr"].to_numpy())


def _why_not(table: xr.Dataset) -> str:
    if table["posterior_mean_variance_stderr"].isnull().all():
        return "not known to be so: of so few data a variance has no error"
    return "within two standard errors of the threshold"


def _which(table: xr.Dataset, idle: np.ndarray, count: int) -> str:
    """Name the idle ones of ``count`` dimensions; of several sites as the table numbers them, with their site."""
    if not len(idle) or len(idle) == count:
        return ""
    numbers = table["latent"].to_numpy() if "latent" in table.coords else np.arange(count)
    sites = table["latent_site"].to_numpy() if "latent_site" in table.coords else np.full(count, "z")
    several = len(set(sites)) > 1
    shown = [f"latent {numbers[i]} ({sites[i]})" if several else f"z{numbers[i] + 1}" for i in idle[:8]]
    return f"; idle: {', '.join(shown)}{', ...' if len(idle) > 8 else ''}"
