"""Categories, given as integers and read by decoders as one-hot vectors."""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.errors import ModelError


def likeliest(q: dist.TorchDistribution) -> Tensor:
    """The likeliest category of q(y|x): [N], integers."""
    return q.mean.argmax(-1)


def one_hot(y: Tensor, num_categories: int, like: Tensor) -> Tensor:
    """Turn categories into one-hot vectors [*batch, C] in the precision of the codes ``like`` [*batch, L].

    Args:
        y: integers [*batch], or one-hot (or relaxed) vectors [*batch, C].
        num_categories: C.
        like: the codes.

    Raises:
        ModelError: another shape, or an integer outside 0, ..., C - 1.
    """
    batch = like.shape[:-1]
    if tuple(y.shape) == (*batch, num_categories):
        return y.to(like)
    if y.is_floating_point() or y.shape != batch:
        raise ModelError(
            f"site 'y': expected integers of shape {list(batch)} or one-hot vectors of shape "
            f"{[*batch, num_categories]}, got {y.dtype} of shape {list(y.shape)}"
        )
    _require_range(y, num_categories)
    return nn.functional.one_hot(y.long(), num_categories).to(like)


def indicator(y: Tensor, num_categories: int, like: Tensor) -> Tensor:
    """Turn judged labels into one-hot vectors [*y, C] in the precision of ``like``; a missing one (-1) is zero.

    No value is looked at, so that a training step can be captured, as it cannot with torch's own ``one_hot``.
    """
    return (y.unsqueeze(-1) == torch.arange(num_categories, device=y.device)).to(like.dtype)


def required_labels(y: Tensor, size: int) -> Tensor:
    """Check the shape of labels [size], whose values are not looked at.

    Raises:
        ModelError: y has another shape, or is not of integers.
    """
    if y.shape != (size,) or y.is_floating_point():
        raise ModelError(f"site 'x': expected labels y, integers of shape [{size}], got {y.dtype} {list(y.shape)}")
    return y


def known_labels(y: Tensor, size: int, num_categories: int) -> Tensor:
    """Check labels [size], of which none may be missing.

    Raises:
        ModelError: another shape, no integers, or an integer outside 0, ..., C - 1.
    """
    labels = required_labels(y, size)
    _require_range(labels, num_categories)
    return labels


def one_for_each(y: Tensor, size: int) -> Tensor:
    """Expand categories to ``size`` draws: [size], from one for all or from as many.

    Raises:
        ModelError: another shape.
    """
    if y.shape not in ((), (1,), (size,)):
        raise ModelError(f"site 'y': expected one category for all or {size} of them, got shape {list(y.shape)}")
    return y.expand(size)


def _require_range(y: Tensor, num_categories: int) -> None:
    if y.numel() and not 0 <= int(y.min()) <= int(y.max()) < num_categories:
        raise ModelError(f"site 'y': expected categories 0, ..., {num_categories - 1}, got {y.unique().tolist()}")


def checked_code(z: Tensor, latent_dim: int) -> Tensor:
    """Check codes [*batch, L].

    Raises:
        ModelError: they have another size.
    """
    if z.dim() < 2 or z.shape[-1] != latent_dim:
        raise ModelError(f"site 'z': expected codes of shape [N, {latent_dim}], got {list(z.shape)}")
    return z
