"""The figures of a run by kind: what each decodes, handed to ``ppl_vae.plots``."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ppl_vae import plots
from ppl_vae.cli.run import Run
from ppl_vae.cli.source import split_data
from ppl_vae.data import Dataset
from ppl_vae.errors import DataError, ModelError, unknown_name
from ppl_vae.files import write_atomically
from ppl_vae.models import VAE
from ppl_vae.models.arithmetic import attribute_vector, decode_along
from ppl_vae.models.latent_grid import latent_grid
from ppl_vae.plots.labels import latent_name
from ppl_vae.randomness import seeded

FIGURES = "figures"
DOTS_PER_INCH = 200
ENCODED_AT_ONCE = 1024
MOST_POINTS = 5000
MOST_TRAVERSED = 12
MANIFOLD_SIDE = 20


@dataclass(frozen=True)
class Wishes:
    """What the user may say about the figures.

    Attributes:
        attribute: the factor whose direction latent arithmetic follows.
        extent: the lowest and highest coordinate of the manifold; None goes through the prior's quantiles.
        seed: of the samples.
    """

    attribute: str | None = None
    extent: tuple[float, float] | None = None
    seed: int = 0


def learning_curves(run: Run, wishes: Wishes) -> Figure:
    """The ELBO's terms by epoch."""
    return plots.plot_learning_curves(run.history, run.chosen_epoch)


def reconstructions(run: Run, wishes: Wishes) -> Figure:
    """Test data above their reconstructions."""
    x = _spread(run.dataset.test.x, 24)
    return plots.plot_reconstructions(x, run.vae.reconstruct(x))


def samples(run: Run, wishes: Wishes) -> Figure:
    """Means of p(x|z) at draws of the prior."""
    with seeded(wishes.seed, next(run.vae.parameters()).device):
        return plots.plot_samples(run.vae.sample(64))


def latent(run: Run, wishes: Wishes) -> Figure:
    """The guide's means of test data in the two latent dimensions that they spread most in."""
    test = run.dataset.test
    codes = guide_means(run.vae, test.x[:MOST_POINTS])
    if codes.shape[1] < 2:
        raise ModelError(f"figure 'latent' needs at least two latent dimensions, the model has {codes.shape[1]}")
    first, second = most_active(codes, 2)
    return plots.plot_latent_scatter(codes, None if test.y is None else test.y[:MOST_POINTS], (first, second))


def manifold(run: Run, wishes: Wishes) -> Figure:
    """A grid of codes of a latent plane, decoded."""
    if run.vae.latent_dim != 2:
        raise ModelError(f"figure 'manifold' needs a latent space of 2 dimensions, the model's has {run.vae.latent_dim}")
    extent = None if wishes.extent is None else (wishes.extent, wishes.extent)
    with torch.no_grad():
        images = run.vae.decode(latent_grid(MANIFOLD_SIDE, MANIFOLD_SIDE, extent)).mean
    return plots.plot_manifold(images, extent)


def interpolations(run: Run, wishes: Wishes) -> Figure:
    """Straight walks between the codes of pairs of test data."""
    start, end = _pairs(run.dataset.test.x, run.dataset.test.y, 6)
    return plots.plot_interpolations(run.vae.interpolate(start, end, steps=11))


def traversals(run: Run, wishes: Wishes) -> Figure:
    """One latent coordinate at a time moved away from the code of a test datum, the most active ones."""
    codes = guide_means(run.vae, run.dataset.test.x[:MOST_POINTS])
    values = torch.linspace(-3, 3, 13)
    dims = most_active(codes, MOST_TRAVERSED)
    moved = codes[0].repeat(len(dims), len(values), 1)
    for row, dim in enumerate(dims):
        moved[row, :, dim] = values.to(moved)
    with torch.no_grad():
        images = run.vae.decode(moved).mean
    return plots.plot_traversals(images, values, [latent_name(dim) for dim in dims])


def arithmetic(run: Run, wishes: Wishes) -> Figure:
    """Test data without an attribute, moved along its direction."""
    if wishes.attribute is None:
        known = ", ".join(run.dataset.factor_names) or f"none, data set {run.dataset.name!r} has no factors"
        raise ModelError(f"figure 'arithmetic' needs --attribute NAME; known: {known}")
    has = binary_factor(run.dataset, "train", wishes.attribute)
    vector = attribute_vector(guide_means(run.vae, split_data(run.dataset, "train")), has.to(run.vae_device))
    without = run.dataset.test.x[~binary_factor(run.dataset, "test", wishes.attribute)]
    codes = guide_means(run.vae, _spread(without, 6))
    alphas = torch.linspace(-1, 2, 7)
    images = decode_along(run.vae, codes, vector, alphas.to(codes))
    return plots.plot_latent_arithmetic(images, alphas, wishes.attribute)


KINDS: Mapping[str, Callable[[Run, Wishes], Figure]] = {
    "learning-curves": learning_curves,
    "reconstructions": reconstructions,
    "samples": samples,
    "latent": latent,
    "manifold": manifold,
    "interpolations": interpolations,
    "traversals": traversals,
    "arithmetic": arithmetic,
}
Kind = StrEnum("Kind", [(name.upper().replace("-", "_"), name) for name in KINDS])  # type: ignore[misc]


def usual_kinds(run: Run, wishes: Wishes) -> list[str]:
    """The kinds that this run's model and data allow."""
    kinds = ["learning-curves"]
    if _are_images(run.dataset.test.x[:1]):
        kinds += ["reconstructions", "samples", "interpolations", "traversals"]
        kinds += ["manifold"] if run.vae.latent_dim == 2 else []
        kinds += ["arithmetic"] if wishes.attribute is not None else []
    return kinds + (["latent"] if run.vae.latent_dim == 2 else [])


def draw(run: Run, folder: Path, kinds: Sequence[str], wishes: Wishes) -> list[Path]:
    """Draw figures into the folder of a run and say where they are."""
    written = []
    for kind in kinds:
        path = folder / FIGURES / f"{kind}.png"
        save_figure(KINDS[kind](run, wishes), path)
        written.append(path)
    return written


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, the whole of it or nothing.

    Raises:
        CheckpointError: it could not be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    write_atomically(path, buffer.getvalue())


@torch.no_grad()
def guide_means(vae: VAE, x: Tensor) -> Tensor:
    """Means of q(z|x), in chunks: [N, latent_dim]."""
    return torch.cat([vae.encode(chunk).mean for chunk in x.split(ENCODED_AT_ONCE)])


def most_active(codes: Tensor, number: int) -> list[int]:
    """The dimensions in which codes [N, L] vary most, at most ``number`` of them, in rising order."""
    return codes.var(0, unbiased=False).topk(min(number, codes.shape[1])).indices.sort().values.tolist()


def binary_factor(dataset: Dataset, split: str, name: str) -> Tensor:
    """Whether each datum of a split has an attribute: boolean [N].

    Raises:
        DataError: the data have no such factor, or it is not made of zeros and ones.
    """
    factors = getattr(dataset, split).factors
    if factors is None or name not in dataset.factor_names:
        raise DataError(f"data set {dataset.name!r}: {unknown_name('attribute', name, dataset.factor_names)}")
    column = factors[:, dataset.factor_names.index(name)]
    if not ((column == 0) | (column == 1)).all():
        raise DataError(f"data set {dataset.name!r}: attribute {name!r} has other values than 0 and 1")
    return column == 1


def _are_images(x: Tensor) -> bool:
    try:
        plots.plot_samples(torch.zeros_like(x))
    except DataError:
        return False
    return True


def _spread(x: Tensor, number: int) -> Tensor:
    """At most ``number`` data at equal steps, so that files sorted by class show more than the first."""
    return x[torch.linspace(0, len(x) - 1, min(number, len(x))).long()]


def _pairs(x: Tensor, y: Tensor | None, number: int) -> tuple[Tensor, Tensor]:
    """Pairs of neighbours in file order, of different classes where there are classes."""
    starts, ends = [], []
    used = -1
    for i in range(len(x) - 1):
        if i > used and len(starts) < number and (y is None or y[i] != y[i + 1]):
            starts, ends, used = [*starts, i], [*ends, i + 1], i + 1
    if not starts:
        raise DataError("figure 'interpolations' needs at least two test data")
    return x[starts], x[ends]
