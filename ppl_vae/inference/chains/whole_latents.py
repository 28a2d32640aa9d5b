r"""All latent sites of a model over a data set as one vector u of real numbers, as if the set were one datum.

    log f(u) = log p(g, z_1, ..., z_N, x_1, ..., x_N) + log |d(g, z)/du|

Chains on it draw from the posterior of global and local sites together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions.transforms import Transform
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.evidence.supports import free_shape, require_fixed, to_support
from ppl_vae.inference.evidence.unconstrained import on_circle
from ppl_vae.inference.pair.draws import require_plain
from ppl_vae.inference.pair.given_values import Given
from ppl_vae.inference.pair.hidden_noise import require_same_density
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.whole_model import WholeRun, run_whole


@dataclass(frozen=True)
class Place:
    """The place of a site in the vector.

    Attributes:
        transform: from the real numbers to its support.
        batch: the sizes of its plates.
        free: the shape of the real numbers that one draw takes.
    """

    transform: Transform
    batch: torch.Size
    free: torch.Size

    @property
    def size(self) -> int:
        """The number of real numbers that it takes."""
        return self.batch.numel() * max(1, self.free.numel())


class WholeLatents:
    """The latent sites of a whole data set as vectors u [C, 1, D].

    Args:
        model: the generative program, called as model(x).
        x: all the data [N, *event_shape].
        group_plates: names of plates that are known not to be the data's.

    Attributes:
        places: where each site stands in the vector.
        whole: the names of the global sites.
        first: a run of the model with one draw.

    Raises:
        ModelError: a site is discrete, has no transform to the real numbers, or a support that depends on another
            site; or the model is refused. The site is named. Or the model's density at a point is another at every
            call.
    """

    def __init__(self, model: Program, x: Tensor, group_plates: frozenset[str] = frozenset()) -> None:
        self.model, self.x, self.group_plates = model, x, group_plates
        self.nesting = 1
        with torch.no_grad():
            self.first = first = self._run(1, Messenger())
            self.nesting = first.levels.nesting
            second = self._run(2, Messenger())
            self.places = {name: _place(name, node) for name, node in first.latent.items()}
            for name, node in first.latent.items():
                require_plain(name, node["value"])
                require_fixed(name, node["fn"], second.latent[name]["fn"], node["value"])
            if not self.places:
                raise ModelError("the model has no latent site")
            held = Given({name: node["value"] for name, node in second.latent.items()})
            require_same_density("model", model, lambda: self._run(2, held).log_joint(), x.device)
        self.whole = first.levels.whole & set(self.places)

    @property
    def dim(self) -> int:
        """The number D of real numbers that all latent sites take."""
        return sum(place.size for place in self.places.values())

    @torch.no_grad()
    def prior_draw(self, num_chains: int) -> Tensor:
        """Independent draws from the prior: [C, 1, D], from the current stream."""
        nodes = self._run(max(2, num_chains), Messenger()).latent
        return self.pack({name: node["value"] for name, node in nodes.items()})[:num_chains]

    def pack(self, values: Mapping[str, Tensor]) -> Tensor:
        """Turn latent values [C, *plates, *event] by site into one vector u [C, 1, D].

        Raises:
            ModelError: a site has no value; it is named.
        """
        missing = [name for name in self.places if name not in values]
        if missing:
            raise ModelError(f"site {missing[0]!r} was given no value; sites given: {list(values)}")
        parts = [place.transform.inv(values[name]) for name, place in self.places.items()]
        return torch.cat([part.reshape(len(part), -1) for part in parts], -1).unsqueeze(1)

    def unpack(self, position: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Turn u [C, 1, D] into latent values [C, *plates, *event] by site, and log |dz/du| [C, 1]."""
        values, log_jacobian = {}, position.new_zeros(position.shape[:2])
        parts = position.split([place.size for place in self.places.values()], -1)
        for (name, place), part in zip(self.places.items(), parts, strict=True):
            plates = (1,) * (self.nesting - len(place.batch)) if len(part) > 1 else ()
            free = part.reshape(len(part), *plates, *place.batch, *place.free)
            values[name] = place.transform(free)
            log_det = place.transform.log_abs_det_jacobian(free, values[name])
            log_jacobian = log_jacobian + log_det.reshape(len(part), -1).sum(-1, keepdim=True)
        return values, log_jacobian

    def ordered(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values [C, *plates, *event] as [C, N, *further plates, *event]; of global sites [C, 1, ...]."""
        return self.first.ordered({name: values[name] for name in self.places})

    def on_circle(self, position: Tensor) -> Tensor:
        """Bring angles that have gone around back to [-pi, pi); other coordinates stay as they are."""
        return on_circle(position, {name: (place.transform, place.size) for name, place in self.places.items()})

    def log_density(self, position: Tensor) -> Tensor:
        """Evaluate log p(g, z(u), x) + log |d(g, z)/du| at u [C, 1, D]: [C, 1], nats. Gradients flow to u."""
        values, log_jacobian = self.unpack(position)
        run = self._run(len(position), Given(values))
        return run.log_joint().unsqueeze(-1) + log_jacobian

    def _run(self, num_draws: int, values: Messenger) -> WholeRun:
        return run_whole(self.model, self.x, num_draws, values, self.nesting, self.group_plates)


def _place(name: str, node: Any) -> Place:
    p = node["fn"]
    # First the shape, which refuses a support without a transform by the site's name.
    free = free_shape(name, p)
    return Place(to_support(p), torch.Size(p.batch_shape), free)
