r"""Estimates for pairs with global sites g: the bound of the data set from the local bounds given the global draw.

    bound(data set) = N_total / N sum_n bound(x_n | g) + log p(y | g) - KL(q(g) || p(g)),      g ~ q(g)

Given g the data are independent, so that every estimator's bound on log p(x_n | g) may stand in the sum. A bound
from K weights takes K local draws at ONE draw of g: a weight is never a product over data, and a mean over draws
of g never stands inside a logarithm, where it would leave KL(q(g) || p(g)) behind.

Without derivatives through the draws the score of q(g) takes the signal of the whole set:

    d/d lambda E_q(g) F(g) = E_q(g) [ F(g) d log q(g) / d lambda ],    F(g) the right-hand side above
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.global_draws import late_global
from ppl_vae.inference.pair.terms import Terms


def require_given_global(name: str, terms: Terms, share_draws: int, by_score: bool = False) -> None:
    """Refuse terms from which bounds given the global draw cannot be made; terms of one level pass.

    Args:
        name: the estimator's.
        terms: of one run.
        share_draws: the draws in a row that must have one global draw.
        by_score: whether a local draw's signal is that of its datum alone.

    Raises:
        ModelError: the global site is named.
    """
    if terms.whole is None:
        return
    site = next(iter(terms.whole.sites), None)
    if site is None or (len(terms.log_likelihood) == 1 == share_draws and not by_score):
        return
    if share_draws > 1 and terms.coupling is not None:
        raise ModelError(
            f"site {terms.coupling!r} draws the latents of all data at once, so that there are no several draws of "
            f"a datum given the global ones, which {name} needs; use monte-carlo-kl"
        )
    if (share_draws > 1 or by_score) and terms.coupling is None:
        _require_global_first(name, terms)
    if terms.draws_per_global != share_draws:
        raise ModelError(
            f"site {site!r} is global: {name} needs {share_draws} draws of each datum at one draw of it, and the "
            f"terms have {terms.draws_per_global}; run the pair by the estimator's own run()"
        )


def _require_global_first(name: str, terms: Terms) -> None:
    late = late_global(terms)
    if late is not None:
        program, site, local = late
        raise ModelError(
            f"site {site!r} is global and drawn after the local {local!r} in the {program}: "
            f"{name} takes the local draws given the global ones; let the {program} draw the global sites first"
        )


def require_all_members(name: str, terms: Terms) -> None:
    """Refuse several weights of a datum one of whose plates takes some of its members, which the draws share.

    Args:
        name: the estimator's.
        terms: of one run.

    Raises:
        ModelError: the site is named.
    """
    if len(terms.log_likelihood) > 1 and terms.subsampled is not None:
        raise ModelError(
            f"site {terms.subsampled!r} stands in a plate that takes some of its members alone, others in every "
            f"run: an ELBO is right on average, and {name}, of several weights, is no bound; take all of them, or "
            "an ELBO"
        )


def require_one_level(reason: str, terms: Terms) -> None:
    """Refuse a pair with global sites where bounds from above given the global draw would be added up.

    Raises:
        ModelError: the global site is named.
    """
    if terms.whole is not None:
        site = next(iter((*terms.whole.sites, *terms.whole.observations)))
        raise ModelError(
            f"site {site!r} is global: {reason}, and less KL(q(g) || p(g)) that is a bound on log p of the data "
            "from no side"
        )


def require_uncoupled(terms: Terms) -> None:
    """Refuse to tell the bound of a datum where the guide draws the latents of all data at once.

    Raises:
        ModelError: the site that couples them is named.
    """
    if terms.coupling is not None:
        raise ModelError(
            f"site {terms.coupling!r} draws the latents of all data at once: such a guide has a bound of the set, "
            "which fit and evaluate tell, and none of a datum"
        )


def set_signal(terms: Terms, local: Tensor, global_bound: Tensor) -> Tensor:
    """F(g_m), the estimate of the set's bound at every global draw, a constant: [M], nats.

    Args:
        terms: of one run.
        local: the bound of every datum at every global draw [M, N].
        global_bound: log p(y|g) + log p(g) - log q(g) [M].
    """
    factor = terms.num_total / local.shape[1]
    return (factor * local.sum(1) + global_bound).detach()


def left_out(signal: Tensor) -> Tensor:
    """The mean of the other draws' signals, a baseline of each [M]; 0 where there is but one."""
    count = len(signal)
    return (signal.sum() - signal) / (count - 1) if count > 1 else torch.zeros_like(signal)
