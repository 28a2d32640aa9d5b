r"""The guide's family with parameters of its own for every datum: q(z; lambda_n) in place of q(z | x_n).

A guide gives every site a torch distribution whose parameters are functions of x_n. Those values become free
numbers, each in the unconstrained space of its own constraint: loc, scale, scale_tril, cov_factor, cov_diag, the
logits and the components of a mixture. A transformed distribution (a flow) gives free its base, and the affine
transforms whose shift and scale are tensors; steps that hold a network stay as the encoder has set them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import Independent, MixtureSameFamily, TransformedDistribution, constraints, transform_to
from torch.distributions.transforms import AffineTransform

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.terms import Site

# Of several parameterisations of one distribution, the one that is taken.
PREFERRED = {"scale_tril": ("covariance_matrix", "precision_matrix"), "logits": ("probs",)}

# By how much, in nats and as a share, the density of a family made again may be off by rounding.
SAME = 1e-2

Build = Callable[[bool], Any]


class LocalPosterior:
    """The local posterior q(z; lambda_n) of one site, started at the encoder's output.

    Args:
        site: of one run of the pair with a single particle.

    Attributes:
        leaves: the unconstrained parameters, each [N, ...], leaves that take gradients.
        fixed: the names of the parts that stay as the encoder gave them.
        stoppable: whether the density is known anywhere, so that its parameters can be stopped.

    Raises:
        ModelError: the distribution has no parameters that could be freed; the site is named.
    """

    def __init__(self, site: Site) -> None:
        self.name = site.name
        self.leaves: list[Tensor] = []
        self.fixed: list[str] = []
        if not site.q.has_rsample:
            raise ModelError(
                f"site {site.name!r}: {type(site.q).__name__} has no reparameterised draws, so its parameters "
                "cannot be optimised for each datum by itself"
            )
        self._build = self._freed(site.q)
        self.stoppable = not self.fixed
        self._require_same(site)

    def __call__(self, stopped: bool = False) -> Any:
        """Make the distribution, batch shape [N]; with ``stopped`` its parameters take no gradient."""
        return self._build(stopped)

    def snapshot(self) -> list[Tensor]:
        """Copy the parameters as they are now."""
        return [leaf.detach().clone() for leaf in self.leaves]

    @torch.no_grad()
    def restore(self, snapshot: list[Tensor], which: Tensor | None = None) -> None:
        """Put parameters back, for the data that ``which`` [N] marks or for all."""
        for leaf, old in zip(self.leaves, snapshot, strict=True):
            chosen = old if which is None else torch.where(which.view(-1, *[1] * (old.dim() - 1)), old, leaf)
            leaf.copy_(chosen)

    @torch.no_grad()
    def _require_same(self, site: Site) -> None:
        """Refuse a class that holds more than its parameters, which it would be made again without."""
        try:
            here, there = self(True).log_prob(site.draw), site.q.log_prob(site.draw)
        except (KeyError, NotImplementedError):
            return
        if not torch.allclose(here, there, rtol=SAME, atol=SAME, equal_nan=True):
            raise ModelError(
                f"site {site.name!r}: {type(site.q).__name__} made again from its parameters has another density: "
                "it holds more than those, and cannot be optimised for each datum by itself"
            )

    def _freed(self, q: object) -> Build:
        if isinstance(q, Independent):
            base, dims = self._freed(q.base_dist), q.reinterpreted_batch_ndims
            return lambda stopped: dist.Independent(base(stopped), dims)
        if isinstance(q, MixtureSameFamily):
            parts = self._freed(q.mixture_distribution), self._freed(q.component_distribution)
            return lambda stopped: type(q)(*(part(stopped) for part in parts))
        if isinstance(q, TransformedDistribution) and not q.arg_constraints:
            return self._freed_flow(q)
        return self._freed_parameters(q)

    def _freed_flow(self, q: Any) -> Build:
        base = self._freed(q.base_dist)
        steps = [self._freed_step(step) for step in q.transforms]
        return lambda stopped: type(q)(base(stopped), [step(stopped) for step in steps])

    def _freed_step(self, step: object) -> Build:
        if isinstance(step, AffineTransform) and isinstance(step.loc, Tensor) and isinstance(step.scale, Tensor):
            loc, scale = self._free(step.loc, constraints.real), self._free(step.scale, constraints.positive)
            event_dim, cache = step.event_dim, step._cache_size
            return lambda stopped: AffineTransform(loc(stopped), scale(stopped), event_dim, cache)
        self.fixed.append(type(step).__name__)
        return lambda stopped: step

    def _freed_parameters(self, q: object) -> Build:
        names = list(_parameter_names(q))
        if not names:
            raise ModelError(
                f"site {self.name!r}: {type(q).__name__} shows no parameters that could be optimised for "
                "each datum by itself"
            )
        try:
            free = {name: self._free(*_expanded(q, name)) for name in names}
            build = lambda stopped: type(q)(**{name: value(stopped) for name, value in free.items()})  # noqa: E731
            build(True)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ModelError(
                f"site {self.name!r}: {type(q).__name__} cannot be made again from {', '.join(names)}, so it "
                "cannot be optimised for each datum by itself"
            ) from error
        return build

    def _free(self, value: Tensor, constraint: object) -> Callable[[bool], Tensor]:
        to_value = transform_to(constraint)
        leaf = to_value.inv(value.detach()).clone().requires_grad_()
        self.leaves.append(leaf)
        return lambda stopped: to_value(leaf.detach() if stopped else leaf)


def _parameter_names(q: Any) -> Iterator[str]:
    known = q.arg_constraints
    left_out = {other for kept, others in PREFERRED.items() if kept in known for other in others}
    return (name for name in known if name not in left_out)


def _expanded(q: Any, name: str) -> tuple[Tensor, object]:
    """Expand a parameter to the whole batch shape in front, and find its constraint."""
    constraint, value = q.arg_constraints[name], operator.attrgetter(name)(q)
    event = value.shape[value.dim() - constraint.event_dim :] if constraint.event_dim else torch.Size()
    return value.expand(*q.batch_shape, *event), constraint
