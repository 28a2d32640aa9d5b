"""White shapes on black with five known factors, in the manner of dSprites, rendered here.

A sprite is the set {p : f_k(q) <= 0} of an implicit function f_k of its shape k, in coordinates of its own:

    q = R(-θ) (p - c) / (s ρ),      c = 1/4 + (x, y) / 2,      ρ = 1/4

where p runs over the image's unit square, c is the centre, θ the orientation and s the scale. Each shape
lies in the unit disc about its own centroid, so that the centroid of the sprite is c whatever its
orientation, its area is A_k (s ρ)², and it never leaves the image:

    square   max(|u|, |v|) - 0.7                            A = 1.96
    ellipse  (u / 0.95)² + (v / 0.6)² - 1                   A = 0.57 π
    heart    a² + (b - 0.8 |a|^(2/3))² - 1                  A = 0.99 π / 1.3²
             (1.1 a, 0.9 b) = 1.3 q + (0, 0.3851), whose last number is the curve's own centroid

A pixel is 1 where f_k <= 0 at its centre and 0 elsewhere, exactly, as in dSprites (Matthey et al., 2017);
``antialias=True`` averages that over 4 x 4 points of the pixel and gives grey edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ppl_vae.checks import require_memory
from ppl_vae.data.dataset import Binarization, Dataset, Split
from ppl_vae.data.split import SPLIT_NOTE, split_indices
from ppl_vae.errors import DataError, unknown_name

SHAPES = ("square", "ellipse", "heart")
FACTOR_NAMES = ("shape", "scale", "orientation", "x", "y")
SHAPE_AREAS = (1.96, 0.57 * math.pi, 0.99 * math.pi / 1.69)

_RADIUS = 0.25
_SUPERSAMPLE = 4
_DEFAULT_N = 4000
# What a factor is held at when a grid leaves it out or gives it one value.
_HELD = {"shape": 0.0, "scale": 0.75, "orientation": 0.0, "x": 0.5, "y": 0.5}


def _square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) - 0.7


def _ellipse(u: Tensor, v: Tensor) -> Tensor:
    return (u / 0.95).square() + (v / 0.6).square() - 1.0


def _heart(u: Tensor, v: Tensor) -> Tensor:
    a, b = 1.3 / 1.1 * u, (1.3 * v + 0.3851) / 0.9
    return a.square() + (b - 0.8 * a.abs().pow(2 / 3)).square() - 1.0


_IMPLICIT: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (_square, _ellipse, _heart)


def render_sprites(factors: Tensor, size: int = 64, *, antialias: bool = False, chunk_size: int = 256) -> Tensor:
    """Draw one sprite per row of factors.

    Args:
        factors: [N, 5], the columns of ``FACTOR_NAMES``: shape 0, 1 or 2 (square, ellipse, heart); scale in
            (0, 1]; orientation in radians, anti-clockwise; x to the right and y downwards, both in [0, 1].
        size: height and width of the image in pixels, at least 8.
        antialias: grey edges in steps of 1/16; without it every pixel is exactly 0 or 1.
        chunk_size: images drawn at once, which bounds the memory and changes no value.

    Returns:
        float32 [N, 1, size, size] in [0, 1].

    Raises:
        DataError: a factor outside its range, or an option that cannot be used; the message names it.

    >>> heart = torch.tensor([[2.0, 1.0, 0.0, 0.5, 0.5]])
    >>> images = render_sprites(heart, size=32)
    >>> images.shape, images.unique().tolist()
    (torch.Size([1, 1, 32, 32]), [0.0, 1.0])
    """
    _check_count("size", size, 8)
    _check_count("chunk_size", chunk_size, 1)
    _check_factors(factors)
    factors = factors.detach().to(torch.float32)
    images = factors.new_empty(len(factors), 1, size, size)
    for rows in torch.arange(len(factors), device=factors.device).split(chunk_size):
        for k in range(len(SHAPES)):
            chosen = rows[factors[rows, 0] == k]
            if len(chosen):
                images[chosen, 0] = _coverage(k, factors[chosen], size, antialias)
    return images


def _coverage(shape: int, factors: Tensor, size: int, antialias: bool) -> Tensor:
    """The share of each pixel inside the sprite, [n, size, size], for rows of one shape."""
    points = _SUPERSAMPLE if antialias else 1
    offsets = [(i + 0.5) / points for i in range(points)]
    pixels = torch.arange(size, device=factors.device, dtype=factors.dtype)
    inside = factors.new_zeros(len(factors), size, size)
    for dy in offsets:
        for dx in offsets:
            u, v = _own_coordinates(factors, (pixels + dx) / size, (pixels + dy) / size)
            inside += _IMPLICIT[shape](u, v) <= 0
    return inside / points**2


def _own_coordinates(factors: Tensor, columns: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The points (columns, rows) of the image as coordinates of the sprites, each [n, size, size]."""
    # Angles in double: a sprite must not depend on which rows share its chunk, down to the last bit.
    angle = factors[:, 2].double()
    inverse = 1.0 / (_RADIUS * factors[:, 1])
    cos = (angle.cos().float() * inverse)[:, None, None]
    sin = (angle.sin().float() * inverse)[:, None, None]
    right = (columns - (0.25 + 0.5 * factors[:, 3, None]))[:, None, :]
    up = ((0.25 + 0.5 * factors[:, 4, None]) - rows)[:, :, None]
    return cos * right + sin * up, cos * up - sin * right


def load_sprites(
    n: int | None = None,
    *,
    grid: Mapping[str, int] | None = None,
    size: int = 64,
    antialias: bool = False,
    seed: int = 0,
) -> Dataset:
    """Render a data set of sprites: random draws of the factors, or every combination of a grid.

    Images are exactly 0 or 1, so that a Bernoulli likelihood takes them as they are, and their binarisation
    is "threshold"; with ``antialias`` edges are grey and it is "none".

    Args:
        n: how many random draws (4000 without a grid): shape uniform over the three, scale in [1/2, 1],
            orientation in [0, 2π), x and y in [0, 1].
        grid: instead of n, how many values of each factor, equally spaced over those ranges, ends included
            except for the orientation, where 2π would repeat 0. A factor left out, or given one value, is
            held: square, scale 3/4, orientation 0, x and y 1/2. The grid of dSprites is {"shape": 3,
            "scale": 6, "orientation": 40, "x": 32, "y": 32}: 737 280 images, 12 GB at size 64.
        size: height and width in pixels, at least 8.
        antialias: grey edges.
        seed: of the random draws; the split does not depend on it.

    Returns:
        A Dataset with ``x`` [N, 1, size, size], ``y`` the shape's index and ``factors`` [N, 5].

    Raises:
        DataError: an option that cannot be used; the message names it.

    >>> ds = load_sprites(grid={"shape": 3, "x": 4, "y": 4}, size=16)
    >>> len(ds.train), len(ds.test), ds.event_shape, ds.binarization
    (43, 5, (1, 16, 16), 'threshold')
    """
    if n is not None and grid is not None:
        raise DataError("sprites: give n= (random draws) or grid= (every combination), not both")
    _check_count("seed", seed, 0)
    if grid is None:
        n = _DEFAULT_N if n is None else n
        _check_count("n", n, 2)
        require_memory(f"sprites: n={n}", 4.0 * n * size * size if isinstance(size, int) else 0, DataError)
        factors = _random_factors(n, torch.Generator().manual_seed(seed))
        drawn = f"{n} random draws of the factors, seed {seed}"
    else:
        factors = _grid_factors(grid)
        drawn = "every combination of the grid " + ", ".join(f"{name} {grid[name]}" for name in grid)
    train, test = (
        Split(render_sprites(part, size, antialias=antialias), part[:, 0].long(), part)
        for part in (factors[index] for index in split_indices(len(factors), "sprites"))
    )
    binarization: Binarization = "none" if antialias else "threshold"
    return Dataset("sprites", train, test, FACTOR_NAMES, binarization, "rendered", (drawn, SPLIT_NOTE))


def _random_factors(n: int, generator: torch.Generator) -> Tensor:
    shape = torch.randint(len(SHAPES), (n, 1), generator=generator).float()
    rest = torch.rand(n, 4, generator=generator) * torch.tensor([0.5, 2 * math.pi, 1.0, 1.0])
    return torch.cat([shape, rest + torch.tensor([0.5, 0.0, 0.0, 0.0])], dim=1)


def _grid_factors(grid: Mapping[str, int]) -> Tensor:
    """Every combination of the grid's values once, [N, 5], the last factor fastest."""
    for name, count in grid.items():
        if name not in FACTOR_NAMES:
            raise DataError(f"sprites: grid: {unknown_name('factor', name, FACTOR_NAMES)}")
        _check_count(f"grid[{name!r}]", count, 1)
    if grid.get("shape", 1) > len(SHAPES):
        raise DataError(f"sprites: grid['shape'] must be at most {len(SHAPES)}, found {grid['shape']}")
    factors = torch.cartesian_prod(*(_grid_values(name, grid.get(name, 1)) for name in FACTOR_NAMES))
    if len(factors) < 2:
        raise DataError(f"sprites: grid must have at least 2 combinations, found {dict(grid)}")
    return factors


def _grid_values(name: str, count: int) -> Tensor:
    if count == 1:
        return torch.tensor([_HELD[name]])
    if name == "shape":
        return torch.arange(count, dtype=torch.float32)
    if name == "orientation":
        return torch.arange(count, dtype=torch.float32) * (2 * math.pi / count)
    return torch.linspace(0.5 if name == "scale" else 0.0, 1.0, count)


def _check_count(option: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(f"sprites: {option} must be an integer of at least {least}, found {value!r}")


def _check_factors(factors: Tensor) -> None:
    if factors.ndim != 2 or factors.shape[1] != len(FACTOR_NAMES):
        raise DataError(f"sprites: factors must be [N, {len(FACTOR_NAMES)}], found {list(factors.shape)}")
    if not factors.isfinite().all():
        raise DataError("sprites: factors must be finite, found nan or infinity")
    shape, scale, _, x, y = factors.unbind(1)
    allowed = (
        ("shape", (shape == 0) | (shape == 1) | (shape == 2), "0, 1 or 2"),
        ("scale", (scale > 0) & (scale <= 1), "in (0, 1]"),
        ("x", (x >= 0) & (x <= 1), "in [0, 1]"),
        ("y", (y >= 0) & (y <= 1), "in [0, 1]"),
    )
    for name, good, expected in allowed:
        if not good.all():
            column = FACTOR_NAMES.index(name)
            found = factors[~good][0, column].item()
            raise DataError(f"sprites: factor {name!r} must be {expected}, found {found:g}")
