"""The sites of a pair that ArviZ holds, with the values of pyro.deterministic, and the names of their variables.

ArviZ keeps "chain" and "draw" for dimensions and we keep "datum" and "label"; a variable of such a name would be
taken for the dimension's coordinate and be lost. In netCDF a slash is a path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.terms import Observation, Terms
from ppl_vae.inference.pair.trace_site import TraceSite

RESERVED = ("chain", "draw", "datum", "label")


def data_sites(terms: Terms) -> dict[str, Observation]:
    """List the observed sites that hold data; those of pyro.factor, and values computed from latents, hold none."""
    return {name: site for name, site in terms.observations.items() if site.is_data}


class Derived(Messenger):
    """Record what pyro.deterministic computes in the programs that run inside, by site."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, list[Tensor]] = {}

    def _pyro_post_sample(self, msg: TraceSite) -> None:
        if (msg["infer"] or {}).get("_deterministic") and isinstance(msg["value"], Tensor):
            self.values.setdefault(msg["name"], []).append(msg["value"].detach())

    def per_draw(self, num_particles: int, num_data: int) -> dict[str, Tensor]:
        """Return the values of which there is one for every draw and datum, [K, N, *event]; others are left out.

        The programs may have run once more with one draw, to judge their shapes: the first run that fits is taken.
        """
        found: dict[str, Tensor] = {}
        for name, values in self.values.items():
            for value in values:
                whole = value.unsqueeze(0) if num_particles == 1 and value.shape[:1] == (num_data,) else value
                if whole.shape[:2] == (num_particles, num_data):
                    found.setdefault(name, whole)
        return found


def exported_names(sites: Iterable[str]) -> dict[str, str]:
    """Name the variable of every site: by the site's own name, with a full stop in the place of a slash.

    Raises:
        ModelError: a site has the name of a dimension, or two would have one name; it is named.
    """
    names: dict[str, str] = {}
    for site in sites:
        if site in RESERVED:
            raise ModelError(f"site {site!r}: that is the name of a dimension of ArviZ's draws; rename the site")
        name = site.replace("/", ".")
        if name in names.values():
            raise ModelError(f"site {site!r}: another site is called {name!r} already; rename one of them")
        names[site] = name
    return names


def plain_attributes(attributes: Mapping[str, object]) -> dict[str, object]:
    """Convert attributes to those that netCDF holds: a bool becomes 0 or 1, a list one text, None is left out."""
    found: dict[str, object] = {}
    for name, value in attributes.items():
        if isinstance(value, bool):
            found[name] = int(value)
        elif isinstance(value, list | tuple | set):
            found[name] = "; ".join(map(str, value))
        elif value is not None:
            found[name] = value
    return found
