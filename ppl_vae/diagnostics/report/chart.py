"""The chart of latent codes: how the latents of all data are laid out in two dimensions.

Codes of two dimensions, or two that are asked for, are shown as they are; more are projected on the first two
principal components of the guide's means (Pearson 1901). Both are linear, so that draws, ellipses and decoded
points have a place too. UMAP places the means alone (McInnes, Healy & Melville 2018,
https://arxiv.org/abs/1802.03426).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppl_vae.errors import ModelError
from ppl_vae.extras import imported

LAYOUTS = ("auto", "pca", "umap")
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Latents:
    """The draws of all continuous latent sites of the data.

    Attributes:
        values: flattened and side by side [S, N, U].
        shapes: the event shape by site, in the order in which they stand.
        all_continuous: whether no latent site of a datum is left out.
    """

    values: Array
    shapes: Mapping[str, tuple[int, ...]]
    all_continuous: bool

    def by_site(self, codes: Array) -> dict[str, Array]:
        """Part codes [M, U] into the values of the sites [M, *event]."""
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        parts = np.split(codes, np.cumsum(sizes)[:-1], axis=1)
        return {
            name: part.reshape(len(codes), *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def names(self) -> list[str]:
        """Names of the U dimensions, as a reader counts them: from 1."""
        return [
            f"{site}{str(i + 1).translate(SUBSCRIPTS)}"
            for site, shape in self.shapes.items()
            for i in range(int(np.prod(shape)))
        ]


@dataclass(frozen=True)
class Chart:
    """The places of all data.

    Attributes:
        points: of the guide's means [N, 2].
        axes: names of the two axes.
        centre: the code at the chart's origin [U].
        directions: orthonormal [2, U]; None where the layout is not linear, as UMAP's.
        words: a sentence about the layout.
    """

    points: Array
    axes: tuple[str, str]
    centre: Array
    directions: Array | None
    words: str

    def project(self, codes: Array) -> Array:
        """Place codes [..., U] on the chart [..., 2]."""
        assert self.directions is not None
        return (codes - self.centre) @ self.directions.T

    def code(self, places: Array) -> Array:
        """The codes [..., U] of places on the chart [..., 2]."""
        assert self.directions is not None
        return self.centre + places @ self.directions


def make_chart(latents: Latents, layout: str | Sequence[int], seed: int) -> Chart:
    """Lay out the guide's means.

    Args:
        latents: the draws.
        layout: "auto", which shows two dimensions as they are and takes principal components of more; "pca";
            "umap", where the package umap-learn is installed; or two latent dimensions, counted from 0.
        seed: of UMAP.

    Raises:
        ModelError: the layout is unknown, the dimensions are not there, or the package is not.
    """
    means = latents.values.mean(0)
    width = means.shape[1]
    if not isinstance(layout, str):
        return _plain(means, latents.names(), _checked(layout, width))
    if layout not in LAYOUTS:
        raise ModelError(f"layout: expected one of {', '.join(LAYOUTS)}, or two dimensions, got {layout!r}")
    if layout == "umap":
        return _umap(means, seed)
    if width == 1:
        spread = latents.values.std(0)
        axes = (latents.names()[0], "standard deviation of q")
        return Chart(np.column_stack([means, spread]), axes, means.mean(0), None, "The one latent, and its spread.")
    return _plain(means, latents.names(), (0, 1)) if width == 2 and layout == "auto" else _principal(means)


def _checked(dims: Sequence[int], width: int) -> tuple[int, int]:
    if len(dims) != 2 or len(set(dims)) != 2 or not all(isinstance(d, int) and 0 <= d < width for d in dims):
        raise ModelError(f"layout: expected two different latent dimensions of 0 to {width - 1}, got {list(dims)}")
    return dims[0], dims[1]


def _plain(means: Array, names: Sequence[str], dims: tuple[int, int]) -> Chart:
    directions = np.zeros((2, means.shape[1]))
    directions[[0, 1], list(dims)] = 1.0
    centre = means.mean(0)
    centre[list(dims)] = 0.0
    axes = (names[dims[0]], names[dims[1]])
    return Chart(means[:, list(dims)], axes, centre, directions, f"The guide's means of {axes[0]} and {axes[1]}.")


def _principal(means: Array) -> Chart:
    centre = means.mean(0)
    _, lengths, directions = np.linalg.svd(means - centre, full_matrices=False)
    directions = directions[:2]
    # A component is known up to its sign: its largest coordinate is positive.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    directions = directions * np.where(largest < 0, -1.0, 1.0)
    total = float((lengths**2).sum())
    shares = lengths[:2] ** 2 / total if total > 0 else np.zeros(2)
    axes = (f"principal component 1 ({shares[0]:.0%})", f"principal component 2 ({shares[1]:.0%})")
    words = (
        f"The guide's means in {means.shape[1]} latent dimensions, projected on their first two principal "
        f"components, which hold {shares.sum():.0%} of their variance: what is apart in the others may "
        "lie together here."
    )
    return Chart((means - centre) @ directions.T, axes, centre, directions, words)


def _umap(means: Array, seed: int) -> Chart:
    umap = imported("umap", "layout 'umap'", "umap-learn")
    points = np.asarray(umap.UMAP(random_state=seed, n_jobs=1).fit_transform(means), np.float64)
    words = (
        "The guide's means by UMAP, which keeps neighbours together; its distances, sizes and empty places mean "
        "nothing, and neither draws nor decoded points have a place on it."
    )
    return Chart(points, ("UMAP 1", "UMAP 2"), means.mean(0), None, words)
