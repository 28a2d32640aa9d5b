"""The size below which a bias, a variance or a gradient of a comparison is rounding alone."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.terms import Gradient, Terms
from ppl_vae.inference.training.weights import Weights
from ppl_vae.randomness import derived_seed, seeded

# Of a number that is a sum of terms, relative to the terms' summed magnitudes: where they cancel, this is left.
LEFT = {torch.float64: 1e-10}
LEFT_ELSEWHERE = 1e-5
# The run that shows the magnitudes has a stream of its own.
ROUNDING_STREAM = 12


def rounding(model: Program, guide: Program, weights: Weights, x: Tensor) -> tuple[float, dict[str, float]]:
    """The rounding error of a mean bound over the data, and of the norm of its gradient by parameter name.

    The gradient is a sum of those of log p(x|z), log p(z) and log q(z|x), which may cancel; so may the densities.

    Args:
        model: the generative program.
        guide: its guide.
        weights: of the pair.
        x: [N, *event_shape].

    Raises:
        ModelError: neither program's densities move with a parameter.
    """
    with seeded(derived_seed(0, ROUNDING_STREAM), x.device):
        terms = _terms(model, guide, x)
        densities = [terms.log_likelihood, terms.log_prior, terms.log_guide]
        if (whole := terms.whole) is not None:
            of_set = (whole.log_likelihood, whole.log_prior, whole.log_guide)
            densities += [density / terms.num_total for density in of_set]
        if not any(density.requires_grad for density in densities):
            raise ModelError("the densities depend on no parameter: there is no gradient to compare")
        named = weights.named_parameters()
        norms = dict.fromkeys(named, 0.0)
        for density in densities:
            if not density.requires_grad:
                continue
            found = torch.autograd.grad(density.mean(), list(named.values()), retain_graph=True, allow_unused=True)
            for name, gradient in zip(named, found, strict=True):
                norms[name] += 0.0 if gradient is None else gradient.double().norm().item()
    left = LEFT.get(terms.log_likelihood.dtype, LEFT_ELSEWHERE)
    magnitude = sum(density.detach().abs().double().mean().item() for density in densities)
    return left * magnitude, {name: left * norm for name, norm in norms.items()}


def _terms(model: Program, guide: Program, x: Tensor) -> Terms:
    """The terms with reparameterised draws, else with draws that are constants."""
    reason = ""
    for gradient in (kind for kind in get_args(Gradient) if kind != "path"):
        try:
            return run_terms(model, guide, (x,), {}, 1, gradient, both_levels=True)
        except ModelError as error:
            reason = str(error)
    raise ModelError(reason)
