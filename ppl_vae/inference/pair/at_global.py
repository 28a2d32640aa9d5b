"""A pair at a draw of its global sites: two programs of local sites alone, given what all data share.

The sites outside the data plate have values, and no handler outside sees them. So what is asked about each datum of
a pair of one level can be asked of such a pair too: log p(x_n | g), q(z_n | x_n, g), each given g.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.global_draws import require_local_given_global
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.inference.pair.trace_site import TraceSite
from ppl_vae.inference.pair.wrapping import Wrapping
from ppl_vae.randomness import derived_seed


class _Held(Messenger):
    """Set sites to values, and let no handler outside see these or the ``hidden`` ones, which are observed."""

    def __init__(self, values: Mapping[str, Tensor], hidden: frozenset[str]) -> None:
        super().__init__()
        self.values, self.hidden = values, hidden

    def _pyro_sample(self, msg: TraceSite) -> None:
        name = msg["name"]
        if name in self.values and not msg["is_observed"]:
            msg["value"] = self.values[name]
        elif name not in self.hidden:
            return
        msg["done"], msg["stop"] = True, True


class AtGlobal(Wrapping):
    """A program at a draw of its global sites."""

    def __init__(self, program: Program, values: Mapping[str, Tensor], hidden: frozenset[str]) -> None:
        super().__init__(program)
        self.values, self.hidden = values, hidden

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Run the program with its global sites held."""
        with _Held(self.values, self.hidden):
            return self.program(*args, **kwargs)


@torch.no_grad()
def at_global_draws(given: Conditioned, num_global: int, seed: int, instead: str) -> list[Conditioned]:
    """The pair and its data at draws of the global sites from the guide; empty where there are no such sites.

    Args:
        given: the pair and its data.
        num_global: G draws.
        seed: of the draws; torch's generators are left as they were.
        instead: what is there for a pair that has no local draws given the global ones, in words.

    Raises:
        ModelError: there are no local draws given the global ones; the site is named.
    """
    held = []
    for number in range(num_global):
        with evaluating(*given.programs, seed=derived_seed(seed, number), device=given.x.device):
            terms = run_terms(*given.programs, given.batch, {}, 1, "score", both_levels=True)
        if terms.whole is None or not terms.whole.sites:
            return []
        require_local_given_global(terms, instead)
        held.append(_at(given, terms.whole))
    return held


def held_sites(given: Conditioned) -> tuple[str, ...]:
    """The names of the sites that a pair's model holds; a guide holds auxiliary ones besides."""
    model = given.programs[0]
    return tuple(model.values) if isinstance(model, AtGlobal) else ()


def _at(given: Conditioned, whole: Terms) -> Conditioned:
    values = {name: site.draw for name, site in whole.sites.items()}
    of_model = {name: values[name] for name, site in whole.sites.items() if site.p is not None}
    hidden = frozenset(whole.observations)
    model, guide = given.programs
    held = AtGlobal(model, of_model, hidden), AtGlobal(guide, values, hidden)
    return Conditioned(held, given.batch, given.labels)
