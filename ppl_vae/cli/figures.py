"""The figures of a run by kind; each decodes what it shows and hands it to ``ppl_vae.plots``."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from ppl_vae import models, plots
from ppl_vae.cli.codes import beside_test_data, binary_factor, drawn, guide_means, most_active, spread
from ppl_vae.cli.run import Run
from ppl_vae.cli.source import split_data
from ppl_vae.errors import DataError, ModelError
from ppl_vae.files import write_atomically
from ppl_vae.inference.pair.words import in_words, most_likely

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor

FIGURES = "figures"
DOTS_PER_INCH = 200
MOST_POINTS, ROWS_DRAWN = 5000, 2000
# Spheres in R^3, tori and balls of so many coordinates have a map.
MOST_MAPPED = 3
MOST_TRAVERSED = 12
LEAST_TILES, MOST_TILES = 10, 20


@dataclass(frozen=True)
class Wishes:
    """The options of a figure that a user may set.

    Attributes:
        attribute: the factor whose direction latent arithmetic follows.
        extent: the lowest and highest coordinate of the manifold; None goes through the prior's quantiles.
        seed: of the samples.
    """

    attribute: str | None = None
    extent: tuple[float, float] | None = None
    seed: int = 0


def learning_curves(run: Run, wishes: Wishes) -> Figure:
    """Draw the ELBO and its terms by epoch."""
    return plots.plot_learning_curves(run.history, run.chosen_epoch)


def reconstructions(run: Run, wishes: Wishes) -> Figure:
    """Draw test data above their reconstructions."""
    if is_table(run):
        x, names = run.dataset.test.x[:MOST_POINTS], run.dataset.column_names or None
        beside = [c[:MOST_POINTS] for c in beside_test_data(run.vae, run.dataset)]
        made = most_likely(run.vae.model, lambda: run.vae.reconstruct(x, *beside).detach())
        return plots.plot_column_reconstructions(in_words(run.vae.model, x), in_words(run.vae.model, made), names)
    x = spread(run.dataset.test.x, 24)
    beside = [spread(c, 24) for c in beside_test_data(run.vae, run.dataset)]
    return plots.plot_reconstructions(x, run.vae.reconstruct(x, *beside))


def marginals(run: Run, wishes: Wishes) -> Figure:
    """Draw the columns of a table beside those of rows that the model draws."""
    return plots.plot_marginals(_table(run), _drawn(run, wishes), run.dataset.column_names or None)


def pairs(run: Run, wishes: Wishes) -> Figure:
    """Draw pairs of columns of a table, with rows that the model draws."""
    return plots.plot_pairs(_table(run), _drawn(run, wishes), run.dataset.column_names or None)


def is_table(run: Run) -> bool:
    """Tell whether a datum is a row of numbers."""
    return len(run.dataset.event_shape) == 1


def _table(run: Run) -> Tensor | pd.DataFrame:
    if not is_table(run):
        raise ModelError(f"figures of columns need a table, the data have shape {run.dataset.event_shape}")
    return in_words(run.vae.model, run.dataset.test.x[:MOST_POINTS])


def _drawn(run: Run, wishes: Wishes) -> Tensor | pd.DataFrame:
    return in_words(run.vae.model, drawn(run.vae, run.dataset, ROWS_DRAWN, wishes.seed, with_noise=True))


def samples(run: Run, wishes: Wishes) -> Figure:
    """Draw the means of p(x|z) at draws of the prior."""
    return plots.plot_samples(drawn(run.vae, run.dataset, 64, wishes.seed))


def latent(run: Run, wishes: Wishes) -> Figure:
    """Draw the guide's means of test data in the two latent dimensions in which they vary most."""
    test = run.dataset.test
    codes = guide_means(run.vae, test.x[:MOST_POINTS])
    if codes.shape[1] < 2:
        raise ModelError(f"figure 'latent' needs at least two latent dimensions, the model has {codes.shape[1]}")
    labels = None if test.y is None else test.y[:MOST_POINTS]
    flat = run.vae.space.flat
    if not flat and codes.shape[1] <= MOST_MAPPED:
        return plots.plot_latent_map(models.latent_map(run.vae.space, codes), labels)
    first, second = most_active(codes, 2)
    title = None if len(codes) == len(test) else f"the first {len(codes):,} of {len(test):,} test data"
    return plots.plot_latent_scatter(codes, labels, (first, second), prior_circles=flat, title=title)


def manifold(run: Run, wishes: Wishes) -> Figure:
    """Draw a grid of codes of a latent plane, decoded."""
    import torch

    latent_dim = run.vae.latent_dim
    _require_flat(run, "manifold")
    if latent_dim != 2:
        has = "is not one plane" if latent_dim is None else f"has {latent_dim}"
        raise ModelError(f"figure 'manifold' needs a latent space of 2 dimensions, the model's {has}")
    extent = None if wishes.extent is None else (wishes.extent, wishes.extent)
    # As many tiles as an image has pixels, within reason: small images need large tiles to be read.
    side = min(max(run.vae.event_shape[-1], LEAST_TILES), MOST_TILES)
    with torch.no_grad():
        images = run.vae.decode(models.latent_grid(side, side, extent)).mean
    return plots.plot_manifold(images, extent)


def _require_flat(run: Run, kind: str) -> None:
    """Refuse figures that move a code by a vector, which leaves a space that is not flat."""
    if isinstance(run.vae, models.VAE) and not run.vae.space.flat:
        raise ModelError(f"figure {kind!r} adds vectors to codes, and these lie in the {run.vae.space.name}")


def interpolations(run: Run, wishes: Wishes) -> Figure:
    """Draw the shortest walks between the codes of pairs of test data."""
    ends = spread(run.dataset.test.x, 12)
    half = len(ends) // 2
    return plots.plot_interpolations(run.vae.interpolate(ends[:half], ends[half : 2 * half], num_steps=11))


def traversals(run: Run, wishes: Wishes) -> Figure:
    """Draw a test datum's code with one latent coordinate at a time moved away, the most active ones."""
    import torch

    from ppl_vae.plots.labels import latent_name

    _require_flat(run, "traversals")
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
    """Draw test data without an attribute, moved along its direction."""
    import torch

    _require_flat(run, "arithmetic")
    if wishes.attribute is None:
        known = ", ".join(run.dataset.factor_names) or f"none, data set {run.dataset.name!r} has no factors"
        raise ModelError(f"figure 'arithmetic' needs --attribute NAME; known: {known}")
    has = binary_factor(run.dataset, "train", wishes.attribute)
    train_codes = guide_means(run.vae, split_data(run.dataset, "train"))
    vector = models.attribute_vector(train_codes, has.to(train_codes.device))
    without = run.dataset.test.x[~binary_factor(run.dataset, "test", wishes.attribute)]
    codes = guide_means(run.vae, spread(without, 6))
    alphas = torch.linspace(-1, 2, 7)
    images = models.decode_along(run.vae, codes, vector, alphas.to(codes))
    return plots.plot_latent_arithmetic(images, alphas, wishes.attribute)


KINDS: Mapping[str, Callable[[Run, Wishes], Figure]] = {
    "learning-curves": learning_curves,
    "reconstructions": reconstructions,
    "samples": samples,
    "marginals": marginals,
    "pairs": pairs,
    "latent": latent,
    "manifold": manifold,
    "interpolations": interpolations,
    "traversals": traversals,
    "arithmetic": arithmetic,
}
OF_ONE_CODE = ("latent", "manifold", "interpolations", "traversals", "arithmetic")
Kind = StrEnum("Kind", [(name.upper().replace("-", "_"), name) for name in KINDS])  # type: ignore[misc]


def usual_kinds(run: Run, wishes: Wishes) -> list[str]:
    """List the kinds of figures that the model and the data of this run allow."""
    kinds = ["learning-curves"]
    one_code = isinstance(run.vae, models.VAE)
    flat = one_code and run.vae.space.flat
    plane = one_code and run.vae.latent_dim == 2
    # An autoencoder's flat prior cannot be drawn from, and completions need something to complete.
    drawable = run.vae.config.get("prior") != {"name": "flat"} and "visible" not in run.vae.config
    if is_table(run):
        kinds += ["reconstructions"] + (["marginals", "pairs"] if drawable else [])
    if _are_images(run.dataset.test.x[:1]):
        kinds += ["reconstructions"] + (["samples"] if drawable else [])
        kinds += ["interpolations"] if one_code else []
        kinds += ["traversals"] if flat else []
        kinds += ["manifold"] if plane and flat else []
        kinds += ["arithmetic"] if flat and wishes.attribute is not None else []
    return kinds + (["latent"] if plane else [])


def draw(run: Run, folder: Path, kinds: Sequence[str], wishes: Wishes) -> list[Path]:
    """Draw figures into the folder of a run and say where they are."""
    written = []
    for kind in kinds:
        if kind in OF_ONE_CODE and not isinstance(run.vae, models.VAE):
            raise ModelError(f"figure {kind!r} needs a model with one code z; this is a {type(run.vae).__name__}")
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


def _are_images(x: Tensor) -> bool:
    import torch

    from ppl_vae.plots.image_grid import as_images

    try:
        as_images(torch.zeros_like(x))
    except DataError:
        return False
    return True
