r"""The best member of the guide's family for every datum, by stochastic ascent from the encoder's output.

    q*_n = argmax_lambda L[q(z; lambda); x_n],   L[q] = E_q [ log p(x, z) - log q(z) ]

Adam climbs on all data of a batch at once (Cremer, Li & Duvenaud 2018 take one datum after another, with a rule
that stops where averages of 100 steps no longer rise). Gradients are path derivatives (Roeder, Wu & Duvenaud 2017,
https://arxiv.org/abs/1703.09194), whose noise vanishes at the exact posterior. The rate falls to 0.3 of itself
where the mean bound over a window of steps has not risen by its standard error; after the last fall the search is
over, and the parameters are averaged over the steps at the two lowest rates. A datum whose parameters did not
become better keeps the encoder's.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ppl_vae.diagnostics.gaps.local_posterior import LocalPosterior
from ppl_vae.errors import ModelError
from ppl_vae.inference.chains.recorded_climb import Climb
from ppl_vae.inference.pair.joint import log_joint
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.terms import Site, Terms, per_datum
from ppl_vae.progress import advance
from ppl_vae.randomness import seeded
from ppl_vae.unloaded import adam, adam_step

RATES = (0.05, 0.015, 0.0045, 0.00135)
AVERAGED_FROM = 2
WINDOW = 50
# A start far off has slopes that Adam's usual memory of 1000 steps would not forget in time.
MOMENTA = (0.9, 0.95)
# A rise of the mean bound, in nats per datum, that is not worth another window.
LEAST_RISE = 1e-5
# Draws that decide whether a datum's optimised parameters are better than the encoder's.
CHOICE_CHUNK, CHOICE_CHUNKS = 16, 16


class LocalGuide:
    """The guide of a pair with parameters of its own for every datum and every site.

    Args:
        model: the generative program.
        guide: its guide.
        x: [N, *event_shape].

    Attributes:
        x: the data.
        sites: the local posteriors by site.

    Raises:
        ModelError: a site's distribution depends on another site's draw, is auxiliary, is discrete, or shows no
            parameters; it is named.
    """

    def __init__(self, model: Program, guide: Program, x: Tensor) -> None:
        self.model, self.x = model, x
        with torch.no_grad():
            terms = run_terms(model, guide, (x,))
        if not terms.sites:
            raise ModelError("the model has no latent site: there is no gap")
        self._given: Mapping[str, Site] = terms.sites
        self.sites = {}
        for name, site in terms.sites.items():
            if site.p is None:
                raise ModelError(f"site {name!r} is auxiliary: its part of the bound has no single datum's optimum")
            self.sites[name] = LocalPosterior(site)
        if len(self.sites) > 1:
            with torch.no_grad():
                self._require_independent(run_terms(model, guide, (x,)))

    @property
    def fixed(self) -> dict[str, list[str]]:
        """The parameters that stay as the encoder gave them, by site."""
        return {name: local.fixed for name, local in self.sites.items() if local.fixed}

    def log_weight(self, num_draws: int, path: bool = False) -> Tensor:
        """Compute log p(x, z) - log q(z; lambda) at fresh draws: [K, N], nats.

        Args:
            num_draws: K.
            path: whether the parameters are stopped in log q, where its density allows it.
        """
        return self.weighted_draws(num_draws, path)[1]

    def weighted_draws(self, num_draws: int, path: bool = False) -> tuple[dict[str, Tensor], Tensor]:
        """Draw from q(z; lambda): the values [K, N, *event] by site, and their log weights as ``log_weight``."""
        values, log_q = {}, torch.zeros((), dtype=self.x.dtype, device=self.x.device)
        shape = torch.Size((num_draws, len(self.x)))
        for name, local in self.sites.items():
            q = local()
            values[name] = q.rsample(shape[:1])
            density = (local(stopped=True) if path and local.stoppable else q).log_prob(values[name])
            given = self._given[name]
            log_q = log_q + per_datum(name, density, shape, given.scale, given.mask)
        joint = log_joint(self.model, self.x, values)
        return values, joint.log_prior + joint.log_likelihood - log_q

    def leaves(self) -> list[Tensor]:
        """List every free parameter."""
        return [leaf for local in self.sites.values() for leaf in local.leaves]

    def snapshot(self) -> dict[str, list[Tensor]]:
        """Copy all parameters as they are now."""
        return {name: local.snapshot() for name, local in self.sites.items()}

    def restore(self, snapshot: dict[str, list[Tensor]], which: Tensor | None = None) -> None:
        """Put parameters back, for the data that ``which`` [N] marks or for all."""
        for name, local in self.sites.items():
            local.restore(snapshot[name], which)

    def _require_independent(self, again: Terms) -> None:
        """Refuse sites whose distribution moved when the other sites were drawn anew."""
        for name, local in self.sites.items():
            if local.fixed:
                raise ModelError(
                    f"site {name!r}: a flow among several sites cannot be optimised for each datum by "
                    "itself, as its steps may depend on another site's draw"
                )
            other = LocalPosterior(again.sites[name])
            if any(not torch.equal(a, b) for a, b in zip(local.leaves, other.leaves, strict=True)):
                raise ModelError(
                    f"site {name!r}: its distribution in the guide depends on another site's draw, so its "
                    "parameters cannot be optimised for each datum by itself"
                )


def optimise(local: LocalGuide, num_particles: int, steps: int) -> bool:
    """Move every datum's parameters to the best of the family; whether the rule stopped it before ``steps``.

    Args:
        local: moved in place.
        num_particles: draws per datum and step.
        steps: at most so many.
    """
    start, leaves = local.snapshot(), local.leaves()
    climb = Climb(local, num_particles)
    optimizer = adam(leaves, lr=RATES[0], betas=MOMENTA)
    bounds: list[float] = []
    average = _Average(leaves)
    fall = 0
    while len(bounds) < steps and fall < len(RATES):
        optimizer.param_groups[0]["lr"] = RATES[fall]
        for _ in range(min(WINDOW, steps - len(bounds))):
            bounds.append(_step(climb, leaves, optimizer))
            advance()
            if fall >= AVERAGED_FROM:
                average.add()
        fall += _at_rest(bounds)
    advance(steps - len(bounds))
    average.take()
    _keep_better(local, start)
    return fall == len(RATES)


class _Average:
    """The mean of parameters over steps, which averages out the noise of single steps."""

    def __init__(self, leaves: list[Tensor]) -> None:
        self.leaves, self.count = leaves, 0
        self.total = [torch.zeros_like(leaf) for leaf in leaves]

    def add(self) -> None:
        """Add the parameters as they are now to the mean."""
        self.count += 1
        for total, leaf in zip(self.total, self.leaves, strict=True):
            total.add_(leaf.detach())

    @torch.no_grad()
    def take(self) -> None:
        """Put the mean in place, if there is one."""
        for total, leaf in zip(self.total, self.leaves, strict=True):
            if self.count:
                leaf.copy_(total / self.count)


def _step(climb: Climb, leaves: list[Tensor], optimizer: torch.optim.Optimizer) -> float:
    bound, *slopes = climb()
    for leaf, slope in zip(leaves, slopes, strict=True):
        leaf.grad = slope
    adam_step(optimizer)
    return bound.item()


def _at_rest(bounds: list[float]) -> bool:
    """Tell whether the mean of the last window is no higher than the one before, beyond its standard error."""
    if len(bounds) < 2 * WINDOW:
        return False
    before, last = torch.tensor(bounds[-2 * WINDOW :], dtype=torch.float64).split(WINDOW)
    error = ((before.var() + last.var()) / WINDOW).sqrt().item()
    return not (last.mean() - before.mean()).item() > max(error, LEAST_RISE)


@torch.no_grad()
def _keep_better(local: LocalGuide, start: dict[str, list[Tensor]]) -> None:
    """Go back to the encoder's parameters for the data that have not become better, on common random numbers."""
    end = local.snapshot()
    seed = int(torch.randint(2**31, ()))
    reached = _bound(local, seed)
    local.restore(start)
    before = _bound(local, seed)
    local.restore(end)
    local.restore(start, ~(reached > before))


def _bound(local: LocalGuide, seed: int) -> Tensor:
    """The bound per datum [N], in chunks of draws from a stream that starts at ``seed``."""
    with seeded(seed, local.x.device):
        chunks = [local.log_weight(CHOICE_CHUNK).mean(0) for _ in range(CHOICE_CHUNKS)]
    return torch.stack(chunks).mean(0)
