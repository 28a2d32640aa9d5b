"""Cartoon faces with four binary attributes, a pose and four nuisances, drawn here in layers.

The image spans u in [-1, 1] to the right and v in [-1, 1] downwards. A layer is a colour and a signed
distance d(u, v), negative inside; over the picture so far it is laid with the opacity

    α = clamp(1/2 - d / w, 0, 1),      w = 2 / size  the width of a pixel,

the share of a pixel on the inner side of a straight edge, so that edges are smooth at every size.

The head is an ellipsoid of half-widths a, b about (0, v₀). Turned by the angle τ about its upright axis, it
shows at (u, v) the point of the frontal face with the coordinate

    x = u cos τ - z sin τ,      z = (a² (1 - (v - v₀)² / b²) - u²)₊^(1/2)  the depth of its surface,

and whatever lies on the head (eyes, brows, mouth, fringe, glasses, the badge of the hat) is drawn once,
frontal, in (x, v): turning moves and foreshortens all of it together. The nose stands out and moves more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.checks import require_memory
from ppl_vae.data.dataset import Dataset, Split
from ppl_vae.data.split import SPLIT_NOTE, split_indices
from ppl_vae.errors import DataError

ATTRIBUTES = ("smiling", "eyeglasses", "hat", "blond")
FACTOR_NAMES = (*ATTRIBUTES, "pose", "skin", "face_width", "eye_size", "background")

_Colour = Tensor | tuple[float, float, float]

_MAX_TURN = 0.45  # radians, at pose 1
_CENTRE, _HALF_HEIGHT, _EYE_X, _EYE_V = 0.12, 0.64, 0.23, 0.1

_LIGHT_SKIN, _DEEP_SKIN = (1.0, 0.86, 0.74), (0.52, 0.31, 0.16)
_DARK_HAIR, _BLOND_HAIR = (0.20, 0.12, 0.09), (0.97, 0.83, 0.38)
_SHIRT, _INK, _WHITE = (0.30, 0.36, 0.52), (0.13, 0.10, 0.12), (1.0, 1.0, 1.0)
_HAT, _CUFF = (0.80, 0.16, 0.20), (0.98, 0.93, 0.88)
_LIPS, _MOUTH, _LENS = (0.70, 0.26, 0.28), (0.45, 0.10, 0.14), (0.75, 0.90, 1.0)


@dataclass(frozen=True)
class _Scene:
    """The factors of n faces, [n, 1, 1] each, and coordinates u [1, size], v [size, 1] and x [n, size, size]."""

    factor: dict[str, Tensor]
    u: Tensor
    v: Tensor
    x: Tensor
    half_width: Tensor


def render_faces(factors: Tensor, size: int = 64, *, chunk_size: int = 64) -> Tensor:
    """Draw one face per row of factors.

    Args:
        factors: [N, 9], the columns of ``FACTOR_NAMES``: smiling, eyeglasses, hat and blond, 0 or 1 (values
            between are drawn half-way); pose in [-1, 1], turned from the image's left to its right; and in
            [0, 1] skin (light to deep), face_width, eye_size and background (a hue).
        size: height and width of the image in pixels, at least 16.
        chunk_size: faces drawn at once, which bounds the memory and changes no value.

    Returns:
        float32 [N, 3, size, size], red, green and blue in [0, 1].

    Raises:
        DataError: a factor outside its range, or an option that cannot be used; the message names it.

    >>> plain = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5]])
    >>> render_faces(plain, size=32).shape
    torch.Size([1, 3, 32, 32])
    """
    _check_count("size", size, 16)
    _check_count("chunk_size", chunk_size, 1)
    _check_factors(factors)
    factors = factors.detach().to(torch.float32)
    images = factors.new_empty(len(factors), 3, size, size)
    for image, rows in zip(images.split(chunk_size), factors.split(chunk_size), strict=True):
        scene = _scene(rows, size)
        for draw in (_draw_background, _draw_figure, _draw_features, _draw_eyeglasses, _draw_hat):
            draw(image, scene)
    return images


def _scene(factors: Tensor, size: int) -> _Scene:
    factor = dict(zip(FACTOR_NAMES, factors.T[:, :, None, None], strict=True))
    centres = (torch.arange(size, device=factors.device, dtype=factors.dtype) + 0.5) * (2 / size) - 1.0
    u, v = centres[None, :], centres[:, None]
    half_width = 0.46 + 0.14 * factor["face_width"]
    depth2 = half_width.square() * (1 - ((v - _CENTRE) / _HALF_HEIGHT).square()) - u.square()
    # Angles in double: a face must not depend on which rows share its chunk, down to the last bit.
    turn = factor["pose"].double() * _MAX_TURN
    x = u * turn.cos().float() - depth2.clamp(min=0).sqrt() * turn.sin().float()
    return _Scene(factor, u, v, x, half_width)


def _draw_background(image: Tensor, s: _Scene) -> None:
    # Hues from green over blue to pink: yellow would swallow blond hair.
    hue = 2 * math.pi * (0.25 + 0.6 * s.factor["background"].double())
    image[:] = torch.stack([0.74 + 0.16 * (hue - k * 2 * math.pi / 3).cos() for k in range(3)], dim=1)


def _draw_figure(image: Tensor, s: _Scene) -> None:
    """Draw the hair at the back, shoulders, neck, head, and the hair over the forehead, parted at one side."""
    # The hair lies behind the axis and swings the other way.
    back = _ellipse(s.u + 0.035 * s.factor["pose"], s.v - 0.08, s.half_width + 0.16, 0.76)
    _paint(image, torch.maximum(back, s.v - 0.58 - 0.1 * s.u.square()), _hair(s))
    _paint(image, _ellipse(s.u, s.v - 1.12, 0.72, 0.34), _SHIRT)
    _paint(image, torch.maximum(s.u.abs() - 0.17, (s.v - 0.70).abs() - 0.18), 0.88 * _skin(s))
    _paint(image, _head(s), _skin(s))
    line = 0.9 * (s.v + 0.33 - 0.8 * (s.x + 0.1).square())
    _paint(image, torch.maximum(_head(s, 0.04), line), _hair(s))


def _draw_features(image: Tensor, s: _Scene) -> None:
    """Draw brows, eyes, nose and mouth."""
    aside, v = s.x.abs() - _EYE_X, s.v - _EYE_V
    height = 0.075 + 0.05 * s.factor["eye_size"]
    _paint(image, _ellipse(aside, v, height + 0.025, height), _WHITE)
    _paint(image, _ellipse(aside, v, 0.7 * height, 0.75 * height), _INK)
    _paint(image, _ellipse(aside + 0.025, v + 0.03, 0.024, 0.024), _WHITE)
    brow = (s.v + 0.10 - 1.2 * aside.square()).abs() - 0.022
    _paint(image, torch.maximum(brow, aside.abs() - 0.12), 0.6 * _hair(s))
    _paint(image, _ellipse(s.x - 0.05 * s.factor["pose"], s.v - 0.27, 0.05, 0.075), 0.80 * _skin(s))
    _draw_mouth(image, s)


def _draw_mouth(image: Tensor, s: _Scene) -> None:
    """Draw a closed, level mouth; smiling widens it, lifts its corners and opens it over a row of teeth."""
    smiling = s.factor["smiling"]
    half = 0.16 + 0.09 * smiling
    bow = 1 - (s.x / half).square()
    upper = 0.50 + smiling * (0.03 * bow - 0.035)
    opening = 0.19 * smiling * bow
    lips = torch.maximum(upper - 0.028 - s.v, s.v - upper - 0.028 - opening.clamp(min=0))
    _paint(image, torch.maximum(lips, s.x.abs() - half - 0.02), _LIPS)
    inside = torch.maximum(upper - s.v, s.v - upper - opening)
    _paint(image, inside, _MOUTH, smiling)
    _paint(image, torch.maximum(inside, s.v - upper - 0.085), _WHITE, smiling)


def _draw_eyeglasses(image: Tensor, s: _Scene) -> None:
    worn = s.factor["eyeglasses"]
    aside, v = s.x.abs() - _EYE_X, s.v - _EYE_V
    lens = _ellipse(aside, v, 0.18, 0.17)
    arms = torch.maximum((v + 0.03).abs() - 0.03, torch.maximum(-lens, _head(s)))
    _paint(image, lens, _LENS, 0.3 * worn)
    _paint(image, torch.minimum(lens.abs() - 0.03, arms), _INK, worn)


def _draw_hat(image: Tensor, s: _Scene) -> None:
    """Draw a woollen hat: pompom, crown, cuff, and a badge that turns with the head."""
    worn = s.factor["hat"]
    _paint(image, _ellipse(s.u, s.v + 0.80, 0.13, 0.13), _CUFF, worn)
    crown = _ellipse(s.u, s.v + 0.28, s.half_width + 0.08, 0.46).maximum(s.v + 0.28)
    _paint(image, crown, _HAT, worn)
    cuff = torch.maximum(s.u.abs() - s.half_width - 0.10, (s.v + 0.29).abs() - 0.09)
    _paint(image, cuff, _CUFF, worn)
    _paint(image, _ellipse(s.x, s.v + 0.29, 0.07, 0.06), _HAT, worn)


def _head(s: _Scene, margin: float = 0.0) -> Tensor:
    return _ellipse(s.u, s.v - _CENTRE, s.half_width + margin, _HALF_HEIGHT + margin)


def _ellipse(du: Tensor, dv: Tensor, a: Tensor | float, b: Tensor | float) -> Tensor:
    """The distance to an ellipse to first order at its edge, (k - 1) / |∇k| with k² = u²/a² + v²/b²."""
    p, q = du / a, dv / b
    k = (p.square() + q.square()).sqrt().clamp(min=1e-4)
    slope = ((p / a).square() + (q / b).square()).sqrt().clamp(min=1e-4)
    return k * (k - 1) / slope


def _paint(image: Tensor, distance: Tensor, colour: _Colour, opacity: Tensor | float = 1.0) -> None:
    """Lay a colour, [n, 3, 1, 1] or a constant, where the distance is negative; in place."""
    alpha = (0.5 - distance * (image.shape[-1] / 2)).clamp(0, 1) * opacity
    if isinstance(colour, tuple):
        colour = image.new_tensor(colour)[:, None, None]
    image += alpha.expand(len(image), -1, -1)[:, None] * (colour - image)


def _skin(s: _Scene) -> Tensor:
    return _mix(s.factor["skin"], _LIGHT_SKIN, _DEEP_SKIN)


def _hair(s: _Scene) -> Tensor:
    return _mix(s.factor["blond"], _DARK_HAIR, _BLOND_HAIR)


def _mix(share: Tensor, *colours: tuple[float, float, float]) -> Tensor:
    first, second = share.new_tensor(colours)[:, :, None, None]
    return first + share[:, None] * (second - first)


def load_faces(n: int = 2000, *, size: int = 64, seed: int = 0) -> Dataset:
    """Render a data set of faces whose attributes are balanced and independent.

    The 16 combinations of the attributes come equally often (exactly, over both splits, when 16 divides n);
    pose is uniform in [-1, 1] and the nuisances in [0, 1], independent of them and of each other.

    Args:
        n: how many faces, at least 2.
        size: height and width in pixels, at least 16.
        seed: of the factors; the split does not depend on it.

    Returns:
        A Dataset with ``x`` [N, 3, size, size] and ``factors`` [N, 9]; it has no labels ``y``.

    Raises:
        DataError: an option that cannot be used; the message names it.

    >>> ds = load_faces(n=32, size=16)
    >>> len(ds.train), len(ds.test), ds.event_shape, ds.factor_names[:5]
    (29, 3, (3, 16, 16), ('smiling', 'eyeglasses', 'hat', 'blond', 'pose'))
    """
    _check_count("n", n, 2)
    require_memory(f"faces: n={n}", 4.0 * n * 3 * size * size if isinstance(size, int) else 0, DataError)
    _check_count("seed", seed, 0)
    factors = _draw_factors(n, torch.Generator().manual_seed(seed))
    parts = (factors[index] for index in split_indices(n, "faces"))
    train, test = (Split(render_faces(part, size), factors=part) for part in parts)
    notes = (f"{n} faces drawn with seed {seed}", SPLIT_NOTE)
    return Dataset("faces", train, test, FACTOR_NAMES, source="rendered", notes=notes)


def _draw_factors(n: int, generator: torch.Generator) -> Tensor:
    combination = torch.randperm(n, generator=generator) % 2 ** len(ATTRIBUTES)
    bits = combination[:, None] >> torch.arange(len(ATTRIBUTES)) & 1
    rest = torch.rand(n, len(FACTOR_NAMES) - len(ATTRIBUTES), generator=generator)
    rest[:, 0] = 2 * rest[:, 0] - 1
    return torch.cat([bits.float(), rest], dim=1)


def _check_count(option: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(f"faces: {option} must be an integer of at least {least}, found {value!r}")


def _check_factors(factors: Tensor) -> None:
    if factors.ndim != 2 or factors.shape[1] != len(FACTOR_NAMES):
        raise DataError(f"faces: factors must be [N, {len(FACTOR_NAMES)}], found {list(factors.shape)}")
    for name, column in zip(FACTOR_NAMES, factors.unbind(1), strict=True):
        least = -1 if name == "pose" else 0
        good = (column >= least) & (column <= 1)
        if not good.all():
            raise DataError(f"faces: factor {name!r} must be in [{least}, 1], found {column[~good][0]:g}")
