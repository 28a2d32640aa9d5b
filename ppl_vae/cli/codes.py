"""The codes of data, and the choice of the data and dimensions that a figure shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ppl_vae.errors import DataError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

    from ppl_vae.data import Dataset
    from ppl_vae.inference.training.pieces import Given
    from ppl_vae.models import VAE

ENCODED_AT_ONCE = 1024


def guide_means(vae: VAE, x: Tensor) -> Tensor:
    """Compute the means of q(z|x) in chunks: [N, latent_dim]."""
    import torch

    with torch.no_grad():
        return torch.cat([vae.encode(chunk).mean for chunk in x.split(ENCODED_AT_ONCE)])


def most_active(codes: Tensor, number: int) -> list[int]:
    """Find the dimensions in which codes [N, L] vary most, at most ``number`` of them, in rising order."""
    return codes.var(0, unbiased=False).topk(min(number, codes.shape[1])).indices.sort().values.tolist()


def binary_factor(dataset: Dataset, split: str, name: str) -> Tensor:
    """Mark the data of a split that have an attribute: boolean [N].

    Raises:
        DataError: the data have no such factor, or it is not made of zeros and ones.
    """
    factors = {"train": dataset.train, "test": dataset.test}[split].factors
    if factors is None or name not in dataset.factor_names:
        raise DataError(f"data set {dataset.name!r}: {unknown_name('attribute', name, dataset.factor_names)}")
    column = factors[:, dataset.factor_names.index(name)]
    if not ((column == 0) | (column == 1)).all():
        raise DataError(f"data set {dataset.name!r}: attribute {name!r} has other values than 0 and 1")
    return column == 1


def first_of(data: Given, number: int | None) -> Given:
    """The first data, with what stands beside them in a tuple or a dict; all of them for None."""
    return _each_part(data, lambda part: part[:number])


def spread_over(data: Given, number: int) -> Given:
    """``spread`` of x, and of what stands beside it in a tuple or a dict."""
    return _each_part(data, lambda part: spread(part, number))


def _each_part(data: Given, cut: Callable[[Tensor], Tensor]) -> Given:
    if isinstance(data, dict):
        return {name: cut(part) for name, part in data.items()}
    return tuple(map(cut, data)) if isinstance(data, tuple) else cut(data)


def spread(x: Tensor, number: int) -> Tensor:
    """Take at most ``number`` data at equal steps, so that files sorted by class show more than the first."""
    import torch

    return x[torch.linspace(0, len(x) - 1, min(number, len(x))).long()]


def beside_test_data(vae: VAE, dataset: Dataset) -> list[Tensor]:
    """Give what the programs need beside the test data: their covariates, or their labels."""
    from ppl_vae.inference.pair.labels import needs_labels
    from ppl_vae.inference.pair.protocols import traits

    test, names = dataset.test, traits(vae.model).covariates
    if names:
        return [test.covariates[name] for name in names if name in test.covariates]
    return [test.y] if needs_labels(vae.model) and test.y is not None else []


def drawn(vae: VAE, dataset: Dataset, number: int, seed: int, **options: bool) -> Tensor:
    """Draw from the model, given the covariates of the test data, one after another, where it has any."""
    import inspect

    from ppl_vae.inference.pair.protocols import traits
    from ppl_vae.randomness import seeded

    sample: Callable[..., Tensor] = vae.sample
    names = traits(vae.model).covariates
    rows = [
        c.repeat(-(-number // len(c)), *[1] * (c.dim() - 1))[:number]
        for c in (beside_test_data(vae, dataset) if names else [])
    ]
    with seeded(seed, next(vae.parameters()).device):
        if set(names) <= set(inspect.signature(sample).parameters):
            return sample(number, **dict(zip(names, rows, strict=False)), **options)
        return sample(number, *rows, **options)
