r"""A normalising-flow prior: noise from N(0, I) bent by invertible affine steps.

    e ~ N(0, I),   z = f(e),   log p(z) = log N(f^-1(z); 0, I) + log |det df^-1/dz|

Each step is affine in one part of z given the rest: "autoregressive" (the masked autoregressive flow of
Papamakarios, Pavlakou & Murray 2017, whose density costs one pass and whose draws cost L of them) or
"coupling" (real NVP, Dinh, Sohl-Dickstein & Bengio 2017, one pass either way). Between steps the order of
the coordinates is reversed.

Papamakarios, Pavlakou & Murray (2017): https://arxiv.org/abs/1705.07057
Dinh, Sohl-Dickstein & Bengio (2017): https://arxiv.org/abs/1605.08803
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import cast

import torch
from pyro import distributions as dist
from pyro.distributions import transforms
from pyro.distributions.conditional import ConditionalTransformModule
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn
from torch.distributions.transforms import Transform

from ppl_vae.checks import whole
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.models.configuration import Configured, remembers
from ppl_vae.precision import require_single


def _autoregressive(latent_dim: int, hidden: int) -> nn.Module:
    order = cast(torch.LongTensor, torch.arange(latent_dim))
    network = ConditionalAutoRegressiveNN(latent_dim, 0, [hidden, hidden], permutation=order)
    return transforms.ConditionalAffineAutoregressive(network)


def _coupling(latent_dim: int, hidden: int) -> nn.Module:
    return transforms.conditional_affine_coupling(latent_dim, 0, hidden_dims=[hidden, hidden])


KINDS: Mapping[str, Callable[[int, int], nn.Module]] = {"autoregressive": _autoregressive, "coupling": _coupling}


class FlowPrior(Configured):
    """The prior p(z) of a normalising flow, all of it learned.

    Args:
        kind: "autoregressive" or "coupling".
        num_transforms: how many steps.
        hidden: the width of the two hidden layers in every step's network; at least the latent dimension.
    """

    name = "flow"
    loc: Tensor
    scale: Tensor
    order: Tensor

    @remembers
    def __init__(self, kind: str = "autoregressive", num_transforms: int = 3, hidden: int = 64) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ModelError(unknown_name("kind", kind, KINDS))
        self.kind = kind
        self.num_transforms = whole("num_transforms", num_transforms)
        self.hidden = whole("hidden", hidden)

    def build(self, latent_dim: int) -> None:
        """Make the steps' networks."""
        require_room(self.name, latent_dim, self.hidden)
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(latent_dim), persistent=False)
        self.register_buffer("order", torch.arange(latent_dim).flip(0), persistent=False)
        self.steps = nn.ModuleList(KINDS[self.kind](latent_dim, self.hidden) for _ in range(self.num_transforms))

    def forward(self) -> dist.TorchDistribution:
        """The prior p(z): batch shape (), event shape [latent_dim]."""
        require_single(self.name, self.loc)
        # Steps are conditioned on nothing, which makes new ones of the same networks: Pyro's transforms
        # remember the last tensors they met, and these must not outlive an optimiser's step in the module.
        nothing = self.loc[:0]
        steps = [step.inv for step in conditioned(self.steps, nothing)]
        base = dist.Normal(self.loc, self.scale).to_event(1)
        return dist.TransformedDistribution(base, with_reversals(steps, self.order))


def conditioned(steps: nn.ModuleList, on: Tensor) -> list[Transform]:
    """The steps of a flow as transforms that depend on features [*batch, H]."""
    return [step.condition(on) for step in cast(Iterable[ConditionalTransformModule], steps)]


def with_reversals(steps: list[Transform], order: Tensor) -> list[Transform]:
    """Reverse the order of the coordinates between any two steps of a flow."""
    first, *rest = steps
    return [first, *(part for step in rest for part in (transforms.Permute(order), step))]


def require_room(name: str, latent_dim: int, hidden: int) -> None:
    """Raise ``ModelError`` unless steps between coordinates can be made: L of two or more, hidden of L or more."""
    if latent_dim < 2:
        raise ModelError(f"{name!r} needs a latent_dim of at least 2, got {latent_dim}")
    if hidden < latent_dim:
        raise ModelError(f"{name!r}: hidden must be at least latent_dim = {latent_dim}, got {hidden}")
