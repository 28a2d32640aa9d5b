r"""The guide fitted anew to each of many simulated data sets, for calibration of the global sites.

    g_0, z_0 ~ p(g, z),   x_1..x_N ~ p(x | z_0, g_0),   q_s fitted to x,   g_1, ..., g_L ~ q_s(g)

An amortised guide of each datum is asked about simulated data as it stands. A guide of global sites has its
parameters from one data set, so that calibration is that of the procedure that fits it (Talts, Betancourt, Simpson,
Vehtari & Gelman 2018, https://arxiv.org/abs/1804.06788; Yao, Vehtari, Simpson & Gelman 2018, sec. 3,
https://arxiv.org/abs/1802.02538). All data sets have one shape, so that the steps of many fits are taken as one, as
``fit_many`` does, each with a parameter store of its own; programs whose steps cannot be are fitted one by one.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.calibration.refit import Refit, held, simulated
from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors
from ppl_vae.errors import ModelError
from ppl_vae.inference.compilation.members import ApartError
from ppl_vae.inference.fitting.fit_many import fit_in_stores
from ppl_vae.inference.pair.admission import together
from ppl_vae.inference.pair.pair import PairLike, as_pair
from ppl_vae.inference.pair.trace import owner
from ppl_vae.inference.training.settings import Settings
from ppl_vae.progress import advance, watched
from ppl_vae.randomness import derived_seed

STREAM = 27
# Fits whose steps are taken as one: enough to share the cost of a step, few enough for small memory.
TOGETHER = 50
OF_EACH = tuple(field.name for field in fields(Settings))
OF_ALL = ("device", "compile", "num_threads")


def simulate_refits(
    make_pair: Callable[[], PairLike],
    x: Data,
    num_simulations: int = 100,
    num_samples: int = 99,
    *,
    options: Mapping[str, object] | None = None,
    progress: bool | None = None,
    seed: int = 0,
) -> SimulatedPosteriors:
    """Simulate data sets, fit a new guide to each, and draw its global sites; ``run_calibration`` ranks the truth.

    Args:
        make_pair: makes a pair whose guide is not fitted yet. The model's own parameters are held as they are made,
            since data are simulated with them.
        x: data [N, *event_shape] for their number, shape, missing coordinates and covariates, which every
            simulated set has too.
        num_simulations: S data sets, and fits.
        num_samples: L draws of every fitted guide.
        options: of ``fit``: elbo, epochs, lr, and so on. With others than ``fit_many`` has, such as callbacks, fits
            are made one by one.
        progress: show a progress bar; by default where a terminal or a notebook shows it to somebody.
        seed: of simulations, fits and draws; torch's global generators and Pyro's parameters are left as they were.

    Returns:
        The simulated values of the global sites, each with the draws of the guide that was fitted to its data.
        log_likelihood and log_prior are those of the whole set, at global and local sites together.

    Raises:
        ModelError: the pair is refused, has no global sites, or its model has a ``pyro.param``; it is named. Or
            ``make_pair`` gave a guide twice.
    """
    integer("num_simulations", num_simulations, least=2)
    integer("num_samples", num_samples)
    parts: list[SimulatedPosteriors] = []
    with watched(num_simulations, "fit", progress):
        while len(parts) < num_simulations:
            numbers = range(len(parts), min(num_simulations, len(parts) + TOGETHER))
            refits = [simulated(make_pair, x, derived_seed(seed, STREAM, number)) for number in numbers]
            _require_apart(refits)
            _fit_all(refits, options or {})
            parts += [refit.drawn(num_samples) for refit in refits]
            advance(len(refits))
    values = {name: torch.stack([part.values[name] for part in parts], 1) for name in parts[0].values}
    return SimulatedPosteriors(
        x=torch.stack([part.x for part in parts]),
        values=values,
        log_likelihood=torch.stack([part.log_likelihood for part in parts], 1),
        log_prior=torch.stack([part.log_prior for part in parts], 1),
        log_guide=None,
        why_no_density="the guides that were fitted to simulated data sets are gone",
        device=parts[0].device,
        seed=seed,
    )


def _require_apart(refits: Sequence[Refit]) -> None:
    """Refuse a guide that comes twice: the second fit would begin where the first one ends."""
    guides = [owner(refit.given.programs[1]) for refit in refits]
    modules = [id(guide) for guide in guides if guide is not None]
    if len(set(modules)) < len(modules):
        raise ModelError("make_pair gave one guide twice, which the first fit changes: make a new one in each call")


def _fit_all(refits: Sequence[Refit], options: Mapping[str, object]) -> None:
    """Fit all guides, together where their steps can be taken as one."""
    if set(options) <= {*OF_ALL, *OF_EACH} and isinstance(options.get("optimizer", ""), str):
        try:
            return _fit_together(refits, options)
        except ApartError:
            pass
    for refit in refits:
        refit.fit_alone(options)
    return None


def _fit_together(refits: Sequence[Refit], options: Mapping[str, object]) -> None:
    of_all: dict[str, Any] = {name: value for name, value in options.items() if name in OF_ALL}
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(held(as_pair(refit.given.programs))) for refit in refits]
        fit_in_stores(
            pairs,
            [together(refit.given.batch) for refit in refits],
            [{name: copy.deepcopy(options.get(name)) for name in OF_EACH} for _ in refits],
            [refit.fit_seed for refit in refits],
            [refit.store for refit in refits],
            progress=False,
            keep_sites=True,
            **of_all,
        )
