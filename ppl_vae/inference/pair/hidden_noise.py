r"""Random numbers that programs draw outside their sample sites.

Noise e that a model draws for itself is a latent variable that nobody knows of, p(x, z) = E_e p(x, z | e). Drawn
for every draw of a datum, [K, N], it is integrated out by the mean over draws, like any other latent; drawn for a
datum, [N], all K draws share it, and their mean estimates p(x | e). A function that asks for a density at a given
point gets another answer at every call. Noise of a guide leaves bounds and weights true, since
E_{e, z} p(x, z) / q(z | x, e) is p(x);
but q(z | x, e) is not the density of its draws.

Both are seen at K equal draws of the latent sites, run twice: hidden noise gives other densities, and shared noise
moves all K rows alike.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ppl_vae.errors import ModelError, PplVaeError
from ppl_vae.exclusive import exclusive
from ppl_vae.inference.pair.evaluation_mode import evaluation_mode
from ppl_vae.inference.pair.given_values import Given
from ppl_vae.inference.pair.held import held_by
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.own_parameters import own_parameters
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.randomness import seeded
from ppl_vae.registration import unregistered

Hidden = Literal["none", "own", "shared"]
ROWS = 16
# Data that are looked at, and the numbers of which a pass over them is made.
MOST_DATA, NUMBERS = 64, 1 << 18
# Rounding on a device that adds in another order at every call, in parts of the density.
ROUNDING = 1e-4
# Standard errors between the means of two runs over rows; beyond, the rows moved together.
TOGETHER = 8.0
_OWN_GENERATORS = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)


@dataclass(frozen=True)
class HiddenNoise:
    """The random numbers outside the sample sites: none, each draw's own, or shared by a datum's draws."""

    model: Hidden
    guide: Hidden


def require_means_over_draws(model: Program, guide: Program, batch: Batch) -> bool:
    """Refuse a model whose hidden noise all draws of a datum share.

    Args:
        model: the generative program.
        guide: its guide.
        batch: x [N, *event_shape], and what else the programs are run on.

    Returns:
        Whether every draw has hidden noise of the model's own, which the data may share: then their errors are not
        independent. The guide's leaves them so, since every e gives a mean weight of p(x).

    Raises:
        ModelError: it has such noise, or a plate inside a datum takes some of its members.
    """
    require_whole_plates(model, guide, batch)
    noise = hidden_noise(model, guide, batch)
    _refuse_shared(noise)
    return noise.model == "own"


def _refuse_shared(noise: HiddenNoise) -> None:
    if noise.model == "shared":
        raise ModelError(
            "the model draws random numbers outside its sample sites that all draws of a datum share, as "
            "torch.rand(len(x)) does: a mean over draws leaves them in; make them a pyro.sample site that the "
            "guide draws as well"
        )


def require_density_of_draws(model: Program, guide: Program, batch: Batch) -> None:
    """Refuse what asks for draws of the guide and their density where hidden noise parts the two.

    Raises:
        ModelError: the guide has hidden noise, or all draws of a datum share the model's, or a plate inside a datum
            takes some of its members.
    """
    require_whole_plates(model, guide, batch)
    noise = hidden_noise(model, guide, batch)
    if noise.guide != "none":
        raise ModelError(
            "the guide draws random numbers outside its sample sites, so that its log q(z|x) is not the density of "
            "its draws; evaluate and log_evidence take such a guide, and what judges the guide itself does not"
        )
    _refuse_shared(noise)


@torch.no_grad()
def require_whole_plates(model: Program, guide: Program, batch: Batch) -> None:
    """Refuse plates inside a datum that take some of their members, where a mean over draws is more than an ELBO.

    The sum over a few members times their factor estimates a log density without bias; its exponential does not.
    What cannot be run on the first few data alone is left to what runs it.

    Raises:
        ModelError: there is such a plate; the site is named.
    """
    device = batch[0].device
    few = tuple(part[:MOST_DATA] for part in batch)
    with seeded(0, device), unregistered(), own_parameters(model, guide), evaluation_mode(model, guide):
        try:
            name = run_terms(model, guide, few, {}, 1, both_levels=True).subsampled
        except Exception:  # Whatever a user's program raises on some of its data.
            return
    if name is not None:
        raise ModelError(
            f"site {name!r} stands in a plate that takes some of its members alone, others in every run: its log "
            "density is an estimate, which an ELBO averages and a weight exp(...) does not; take all of them"
        )


@torch.no_grad()
def require_same_density(side: str, program: Program, density: Callable[[], Tensor], device: torch.device) -> None:
    """Refuse a program whose density at given points is another at every call.

    Args:
        side: "model" or "guide", for the message.
        program: it.
        density: gives the log density at the same points whenever it is called.
        device: where it draws, if it does.

    Raises:
        ModelError: it has hidden noise.
    """

    def run(number: int) -> Tensor:
        with seeded(number, device), _other_streams(number):
            return density()

    one, other = run(1), run(2)
    if _apart(one, other).any() and not _moves(one, run(1), program):
        raise ModelError(
            f"the {side} draws random numbers outside its sample sites: its density at a given point is another at "
            "every call; make them a pyro.sample site"
        )


@exclusive()
@torch.no_grad()
def hidden_noise(model: Program, guide: Program, batch: Batch) -> HiddenNoise:
    """Look for it on the first few data; on all of them where the programs keep something for each datum.

    What cannot be run at given draws, or has no density there, counts as having none.
    """
    size = min(MOST_DATA, max(2, NUMBERS // (ROWS * max(1, batch[0][0].numel()))))
    few = tuple(part[:size] for part in batch)
    try:
        return _looked_for(model, guide, few)
    except Exception:  # Whatever a user's program raises on some of its data it is asked about with all of them.
        if len(few[0]) == len(batch[0]):
            return HiddenNoise("none", "none")
    try:
        return _looked_for(model, guide, batch)
    except Exception:
        return HiddenNoise("none", "none")


def _looked_for(model: Program, guide: Program, batch: Batch) -> HiddenNoise:
    one = _densities(model, guide, batch, 1)
    other = _densities(model, guide, batch, 2)
    if not any(_apart(a, b).any() for a, b in zip(one, other, strict=True)):
        return HiddenNoise("none", "none")
    again = _densities(model, guide, batch, 1)
    of_model, of_guide = zip(one, other, again, strict=True)
    return HiddenNoise(_kind(*of_model, model), _kind(*of_guide, guide))


def _kind(one: Tensor, other: Tensor, again: Tensor, program: Program) -> Hidden:
    apart = _apart(one, other)
    if not apart.any() or _moves(one, again, program):
        return "none"
    error = ((one.var(0) + other.var(0)) / ROWS).sqrt()
    together = (one.mean(0) - other.mean(0)).abs() > TOGETHER * error
    return "shared" if (together & apart.all(0)).any() else "own"


def _moves(one: Tensor, again: Tensor, program: Program) -> bool:
    """Tell whether densities from the same streams differ because state moves, such as a temperature."""
    if not _apart(one, again).any():
        return False
    return not any(isinstance(item, _OWN_GENERATORS) for _, item in held_by(("", program)))


def _apart(one: Tensor, other: Tensor) -> Tensor:
    scale = torch.maximum(one.abs(), other.abs()).nan_to_num(posinf=0.0).clamp_min(1.0)
    return ~((one == other) | ((one - other).abs() <= ROUNDING * scale) | (one.isnan() & other.isnan()))


def _densities(model: Program, guide: Program, batch: Batch, run: int) -> tuple[Tensor, Tensor]:
    """The log densities of model and guide at equal draws, from the streams that ``run`` names: [ROWS, N] each."""
    device = batch[0].device
    with seeded(0, device), unregistered(), own_parameters(model, guide), evaluation_mode(model, guide):
        terms = run_terms(model, guide, batch, {}, ROWS, both_levels=True)
        for site in (site for level in terms.levels for site in level.sites.values()):
            if site.standing is not None and site.standing.factor != 1.0:
                raise ModelError(f"site {site.name!r}: its plate draws which members it takes, anew at every call")
        values = {
            name: site.read[:1].expand_as(site.read) for level in terms.levels for name, site in level.sites.items()
        }
        with seeded(run, device), _other_streams(run):
            terms = run_terms(model, guide, batch, {}, ROWS, draw_handler=Given(values), both_levels=True)
            return densities_of(terms, "model"), densities_of(terms, "guide")


def densities_of(terms: Terms, side: str) -> Tensor:
    """The log density of one program [ROWS, N]; zero where it has none."""
    total = torch.zeros_like(terms.log_likelihood, dtype=torch.float64)
    for level in terms.levels:
        total = total + (level.log_likelihood if side == "model" else 0.0)
        try:
            total = total + (level.log_prior if side == "model" else level.log_guide)
        except PplVaeError:
            continue
    return total


@contextmanager
def _other_streams(seed: int) -> Iterator[None]:
    """Start the global streams of NumPy and Python anew, and leave them as they were."""
    # NumPy's old global stream is the one that a user's program may draw from.
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)
