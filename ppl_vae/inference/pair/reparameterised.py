"""Latents that a reparameteriser of Pyro's has made of others without a prior of their own.

``SplitReparam``, ``NeuTraReparam`` and ``StructuredReparam`` draw coordinates of theirs, compute the value of the
latent that they stand for, and put a log density on that value as a weight. It is meant for chains: the coordinates
are flat, masked or have another law, so that the sum of all log densities is no log p(x, z) of what is drawn. (That
of ``StructuredReparam`` counts a standard normal too, and the change of variables the other way round.) All others
draw from a law, of which the value is a function.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.auxiliary import is_transform
from ppl_vae.inference.pair.point_mass import stated_density
from ppl_vae.inference.pair.scales import unmasked
from ppl_vae.inference.pair.trace_site import TraceSite
from ppl_vae.recording import is_recording

# How the coordinates are named after the latent.
COORDINATES = {
    "SplitReparam": r"(.+)_split_\d+",
    "NeuTraReparam": "(.+)_shared_latent",
    "StructuredReparam": "(.+)_aux",
}


def require_own_priors(latent: Mapping[str, TraceSite], observed: Mapping[str, TraceSite]) -> None:
    """Refuse coordinates whose prior stands on the value that is made of them.

    Args:
        latent: the model's latent sites by name.
        observed: its observed ones, values that are computed among them.

    Raises:
        ModelError: the site and the reparameteriser are named.
    """
    # A step is written down after its programs have run, and no value of it can be looked at.
    for name in () if is_recording() else latent:
        for kind, pattern in COORDINATES.items():
            found = re.fullmatch(pattern, name)
            if found and found[1] in observed and _weighs(observed[found[1]]):
                raise ModelError(
                    f"site {name!r}: {kind} states the prior of {found[1]!r} as a weight, for chains, and none of "
                    f"what is drawn in its place; leave {found[1]!r} as it is"
                )


def _weighs(node: TraceSite) -> bool:
    """Tell whether a site is a computed value with a log density of its own."""
    value = unmasked(node["fn"])
    return is_transform(value) and bool(stated_density(value).any())
