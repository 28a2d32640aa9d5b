"""Many independent repeats of one estimate: the value of every datum and the gradient, as moments.

Where every latent site is Gaussian and all parameters belong to modules, repeats run through torch.func.vmap
over given noise, many at once; else one after the other. Both draw the same noise from the same stream, repeat
by repeat, so that the numbers depend neither on the way nor on the size of a chunk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Estimator, Objective
from ppl_vae.inference.pair.given_noise import GivenNoise, noise_shapes
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.reseeding import seeding_refused
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.inference.training.weights import Weights
from ppl_vae.randomness import derived_seed, seeded

# What the activations of a step take, in numbers per number of a decoded batch; only a size for chunks.
ACTIVATIONS_PER_OUTPUT = 12
# How far one vectorised repeat may be from the plain one, relative to a tensor's largest coordinate; and to the
# largest of all tensors, because a gradient that is zero but for rounding agrees with nothing.
TRUSTED, ROUNDING = 1e-3, 1e-5
PROBE_STREAM = 7

Chunk = tuple[Tensor, dict[str, Tensor]]


@dataclass
class GradientMoments:
    """Mean and summed squared deviations of gradients, merged chunk by chunk (Chan, Golub & LeVeque 1983).

    Chan, Golub & LeVeque (1983): https://doi.org/10.1080/00031305.1983.10483115
    """

    count: int = 0
    mean: dict[str, Tensor] = field(default_factory=dict)
    deviation: dict[str, Tensor] = field(default_factory=dict)

    def merge(self, gradients: dict[str, Tensor]) -> None:
        """Take in a chunk, by parameter: [R, *shape]."""
        size = len(next(iter(gradients.values())))
        total = self.count + size
        for name, gradient in gradients.items():
            values = gradient.double()
            mean = values.mean(0)
            deviation = (values - mean).square().sum(0)
            if name in self.mean:
                shift = mean - self.mean[name]
                deviation += self.deviation[name] + shift.square() * (self.count * size / total)
                mean = self.mean[name] + shift * (size / total)
            self.mean[name], self.deviation[name] = mean, deviation
        self.count = total

    def variance(self, name: str) -> Tensor:
        """The unbiased variance of every coordinate of one repeat's gradient."""
        return self.deviation[name] / (self.count - 1)


@dataclass(frozen=True)
class Repeated:
    """The values and gradients of R repeats of an estimator.

    Attributes:
        values: the bound of every datum in every repeat [R, N], nats, with its share of the global sites'.
        moments: of the gradient of the batch mean of the bound, by parameter name.
        vectorised: whether repeats ran many at once.
        distance: the squared distance of every repeat's gradient from a centre [R], by parameter name; empty where
            no centre was given.
    """

    values: Tensor
    moments: GradientMoments
    vectorised: bool
    distance: dict[str, Tensor]


def repeat(
    model: Program,
    guide: Program,
    estimator: Estimator,
    weights: Weights,
    x: Tensor,
    repeats: int,
    memory_limit: int,
    advance: Callable[[int], None],
    centre: Mapping[str, Tensor] | None = None,
) -> Repeated:
    """Repeat an estimate on fixed data with fresh draws from torch's current stream.

    Args:
        model: the generative program.
        guide: its guide.
        estimator: what is estimated.
        weights: of the pair; gradients are with respect to these.
        x: [N, *event_shape].
        repeats: R.
        memory_limit: bytes that a chunk of repeats may take, roughly.
        advance: called with the number of repeats done.
        centre: gradients by parameter name, from which the distance of every repeat's is kept.
    """
    shapes = _trusted_shapes(model, guide, estimator, weights, x)
    if shapes is None:
        chunks = _one_by_one(model, guide, estimator, weights, x, repeats)
    else:
        size = _chunk_size(estimator, weights, x, memory_limit)
        chunks = _at_once(model, guide, estimator, weights, x, shapes, repeats, size)
    values, moments = [], GradientMoments()
    centre = centre or {}
    distances: dict[str, list[Tensor]] = {name: [] for name in centre}
    for value, gradients in chunks:
        values.append(value.double())
        moments.merge(gradients)
        for name, far in distances.items():
            far.append((gradients[name].double() - centre[name]).square().reshape(len(value), -1).sum(1))
        advance(len(value))
    distance = {name: torch.cat(far) for name, far in distances.items()}
    return Repeated(torch.cat(values), moments, shapes is not None, distance)


def _trusted_shapes(
    model: Program, guide: Program, estimator: Estimator, weights: Weights, x: Tensor
) -> dict[str, tuple[int, ...]] | None:
    """The noise of one repeat where repeats may run at once, which is tried on one of them; else None.

    A user's program may branch on a value, or keep parameters where functional_call cannot put others in their
    place; the first is an error under vmap, the second a wrong gradient.
    """
    # An estimator with a run of its own may draw another number each time.
    if weights.store or estimator.draw_handler is not None or type(estimator).run is not Objective.run:
        return None
    with seeded(derived_seed(0, PROBE_STREAM), x.device):
        try:
            shapes = noise_shapes(model, guide, x, estimator.num_draws)
        except ModelError:
            return None
        if not shapes:
            # Without latent sites there is no noise to take many of.
            return None
        noise = _draw_noise(shapes, x, 1)
        try:
            ((value, gradients),) = _differentiate(model, guide, estimator, weights, x, [noise])
        except RuntimeError:
            return None
    handler = GivenNoise({name: eps[0] for name, eps in noise.items()})
    terms = run_terms(model, guide, (x,), {}, estimator.num_draws, estimator.gradient, handler, as_loss=True)
    plain_value, plain = _plain(estimator, terms, weights)
    pairs = [(value, plain_value), *((g, plain[name]) for name, g in gradients.items())]
    floor = ROUNDING * max(expected.abs().max().item() for _, expected in pairs if expected.numel())
    return shapes if all(_close(*pair, floor) for pair in pairs) else None


def _close(found: Tensor, expected: Tensor, floor: float) -> bool:
    scale = expected.abs().max().item() if expected.numel() else 0.0
    return torch.allclose(found, expected, rtol=TRUSTED, atol=TRUSTED * scale + floor, equal_nan=True)


def _draw_noise(shapes: dict[str, tuple[int, ...]], x: Tensor, size: int) -> dict[str, Tensor]:
    """Noise of some repeats, each drawn as the guide itself would: [R, *shape] by site."""
    draws = [
        {name: torch.randn(shape, dtype=x.dtype, device=x.device) for name, shape in shapes.items()}
        for _ in range(size)
    ]
    return {name: torch.stack([draw[name] for draw in draws]) for name in shapes}


class _Step(nn.Module):
    """Loss and bound as a function of the parameters (of its submodules) and of given noise."""

    def __init__(self, model: Program, guide: Program, estimator: Estimator, weights: Weights, x: Tensor) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(dict(weights.modules))
        self.run = (model, guide, estimator, x)

    def forward(self, noise: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        model, guide, estimator, x = self.run
        terms = run_terms(
            model, guide, (x,), {}, estimator.num_draws, estimator.gradient, GivenNoise(noise), as_loss=True
        )
        with seeding_refused("estimator"):
            return estimator.forward(terms), estimator.bound(terms)


def _at_once(
    model: Program,
    guide: Program,
    estimator: Estimator,
    weights: Weights,
    x: Tensor,
    shapes: dict[str, tuple[int, ...]],
    repeats: int,
    chunk: int,
) -> Iterator[Chunk]:
    sizes = [min(chunk, repeats - start) for start in range(0, repeats, chunk)]
    noises = (_draw_noise(shapes, x, size) for size in sizes)
    yield from _differentiate(model, guide, estimator, weights, x, noises)


def _differentiate(
    model: Program,
    guide: Program,
    estimator: Estimator,
    weights: Weights,
    x: Tensor,
    noises: Iterable[dict[str, Tensor]],
) -> Iterator[Chunk]:
    """The values and gradients of chunks of repeats on given noise [R, *shape], each chunk in one pass."""
    step = _Step(model, guide, estimator, weights, x)
    parameters = {name: p.detach() for name, p in step.named_parameters() if p.requires_grad}

    def loss(values: dict[str, Tensor], noise: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return functional_call(step, values, (noise,))

    gradient = vmap(grad_and_value(loss, has_aux=True), in_dims=(None, 0))
    for noise in noises:
        with _own_parameters_afterwards(step):
            found, (_, bound) = gradient(parameters, noise)
        yield bound.detach(), {name.removeprefix("parts."): -g.detach() for name, g in found.items()}


@contextlib.contextmanager
def _own_parameters_afterwards(module: nn.Module) -> Iterator[None]:
    """Put parameters back where functional_call does not: in a module that is reached on two ways."""
    own = [(part, dict(part._parameters)) for part in module.modules()]
    try:
        yield
    finally:
        for part, parameters in own:
            part._parameters.update(parameters)


def _one_by_one(
    model: Program, guide: Program, estimator: Estimator, weights: Weights, x: Tensor, repeats: int
) -> Iterator[Chunk]:
    for _ in range(repeats):
        yield _plain(estimator, estimator.run(model, guide, x), weights)


def _plain(estimator: Estimator, terms: Terms, weights: Weights) -> Chunk:
    """The value and the gradient of one repeat by autograd."""
    named = weights.named_parameters()
    with seeding_refused("estimator"):
        value = -estimator.forward(terms)
    found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    gradients = {
        name: (torch.zeros_like(p) if g is None else g).unsqueeze(0)
        for (name, p), g in zip(named.items(), found, strict=True)
    }
    return (estimator.bound(terms) + estimator.share(terms)).detach().unsqueeze(0), gradients


def _chunk_size(estimator: Estimator, weights: Weights, x: Tensor, memory_limit: int) -> int:
    outputs = estimator.num_draws * x.numel() * ACTIVATIONS_PER_OUTPUT
    parameters = sum(p.numel() for p in weights.parameters())
    return max(1, memory_limit // (x.element_size() * (outputs + 3 * parameters)))
