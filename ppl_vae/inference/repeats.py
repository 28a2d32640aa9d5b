"""Many independent repeats of one estimate: the value of every datum and the gradient, as moments.

Where every latent site is Gaussian and all parameters belong to modules, repeats run through torch.func.vmap
over given noise, many at once; else one after the other. Both give the same numbers from the same noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from ppl_vae.errors import ModelError
from ppl_vae.inference.elbo import Estimator
from ppl_vae.inference.noise import GivenNoise, noise_shapes
from ppl_vae.inference.pair import Program
from ppl_vae.inference.terms import run_terms
from ppl_vae.inference.weights import Weights

# What the activations of a step take, in numbers per number of a decoded batch; only a size for chunks.
ACTIVATIONS_PER_OUTPUT = 12


@dataclass
class GradientMoments:
    """Mean and summed squared deviations of gradients, merged chunk by chunk (Chan, Golub & LeVeque 1983)."""

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
    """What R repeats of an estimator gave.

    Attributes:
        values: the bound of every datum in every repeat [R, N], nats.
        moments: of the gradient of the batch mean of the bound, by parameter name.
        vectorised: whether repeats ran many at once on paired noise.
    """

    values: Tensor
    moments: GradientMoments
    vectorised: bool


def repeat(
    model: Program,
    guide: Program,
    estimator: Estimator,
    weights: Weights,
    x: Tensor,
    repeats: int,
    memory_limit: int,
    advance: Callable[[int], None],
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
    """
    try:
        shapes = noise_shapes(model, guide, x, estimator.num_draws) if not weights.store else None
    except ModelError:
        shapes = None
    if shapes is None or estimator.draw_handler is not None:
        chunks = _one_by_one(model, guide, estimator, weights, x, repeats)
    else:
        size = _chunk_size(estimator, weights, x, memory_limit)
        chunks = _at_once(model, guide, estimator, weights, x, shapes, repeats, size)
    values, moments = [], GradientMoments()
    for value, gradients in chunks:
        values.append(value.double())
        moments.merge(gradients)
        advance(len(value))
    return Repeated(torch.cat(values), moments, shapes is not None)


class _Step(nn.Module):
    """Loss and bound as a function of the parameters (of its submodules) and of given noise."""

    def __init__(self, model: Program, guide: Program, estimator: Estimator, weights: Weights, x: Tensor) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(dict(weights.modules))
        self.run = (model, guide, estimator, x)

    def forward(self, noise: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        model, guide, estimator, x = self.run
        terms = run_terms(model, guide, (x,), {}, estimator.num_draws, estimator.gradient, GivenNoise(noise))
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
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    step = _Step(model, guide, estimator, weights, x)
    parameters = {name: p.detach() for name, p in step.named_parameters() if p.requires_grad}

    def loss(values: dict[str, Tensor], noise: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return functional_call(step, values, (noise,))

    gradient = vmap(grad_and_value(loss, has_aux=True), in_dims=(None, 0))
    for start in range(0, repeats, chunk):
        size = min(chunk, repeats - start)
        noise = {name: torch.randn(size, *shape, dtype=x.dtype, device=x.device) for name, shape in shapes.items()}
        found, (_, bound) = gradient(parameters, noise)
        yield bound.detach(), {name.removeprefix("parts."): -g.detach() for name, g in found.items()}


def _one_by_one(
    model: Program, guide: Program, estimator: Estimator, weights: Weights, x: Tensor, repeats: int
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    named = weights.named_parameters()
    for _ in range(repeats):
        terms = estimator.run(model, guide, x)
        found = torch.autograd.grad(-estimator.forward(terms), list(named.values()), allow_unused=True)
        gradients = {
            name: (torch.zeros_like(p) if g is None else g).unsqueeze(0)
            for (name, p), g in zip(named.items(), found, strict=True)
        }
        yield estimator.bound(terms).detach().unsqueeze(0), gradients


def _chunk_size(estimator: Estimator, weights: Weights, x: Tensor, memory_limit: int) -> int:
    outputs = estimator.num_draws * x.numel() * ACTIVATIONS_PER_OUTPUT
    parameters = sum(p.numel() for p in weights.parameters())
    return max(1, memory_limit // (x.element_size() * (outputs + 3 * parameters)))
