"""Images of 28 x 28, black and white, that are drawn: letters, garments, and simpler ones.

Each function takes a number of images and a stream, and returns zeros and ones [count, 1, 28, 28].
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

SIZE = 28
#: Of the dots' margins, and the share of holes in woven cloth.
MARGIN, HOLES = 4, 0.3
FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Bold.ttf", "STIXGeneral.ttf")


def letters(count: int, rng: np.random.Generator) -> torch.Tensor:
    """A to Z in several fonts, turned by up to 15 degrees and shifted: [count, 1, 28, 28]."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [ImageFont.truetype(str(folder / name), size) for name in FONTS for size in (18, 20, 22)]
    pictures = []
    for _ in range(count):
        picture = Image.new("L", (SIZE, SIZE))
        place = tuple(SIZE / 2 + rng.uniform(-1.5, 1.5, size=2))
        letter = chr(ord("A") + int(rng.integers(26)))
        ImageDraw.Draw(picture).text(place, letter, 255, fonts[int(rng.integers(len(fonts)))], anchor="mm")
        pictures.append(picture.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR))
    return cut(pictures)


def garments(count: int, rng: np.random.Generator) -> torch.Tensor:
    """Filled outlines with stripes: [count, 1, 28, 28]."""
    outlines = (shirt, trousers, bag, boot)
    pictures = []
    for _ in range(count):
        picture = Image.new("L", (SIZE, SIZE))
        draw = ImageDraw.Draw(picture)
        for polygon in outlines[int(rng.integers(len(outlines)))](rng):
            draw.polygon(polygon, fill=255)
        period, width = int(rng.integers(4, 9)), int(rng.integers(0, 3))
        for row in range(int(rng.integers(period)), SIZE, period):
            if width:
                draw.rectangle((0, row, SIZE, row + width - 1), fill=0)
        pictures.append(picture)
    return cut(pictures)


def shirt(rng: np.random.Generator) -> list[list[tuple[float, float]]]:
    """A body and two sleeves."""
    half, sleeve, top, hem = rng.uniform(5, 7), rng.uniform(3, 6), rng.uniform(3, 5), rng.uniform(21, 26)
    left, right = 14 - half, 14 + half
    body = [(left, top), (right, top), (right, hem), (left, hem)]
    end = top + rng.uniform(6, 14)
    return [
        body,
        [(left, top), (left - sleeve, end), (left - sleeve + 4, end + 1), (left + 1, top + 5)],
        [(right, top), (right + sleeve, end), (right + sleeve - 4, end + 1), (right - 1, top + 5)],
    ]


def trousers(rng: np.random.Generator) -> list[list[tuple[float, float]]]:
    """Two legs below a belt."""
    half, leg, gap, hem = rng.uniform(4.5, 6.5), rng.uniform(3, 4.5), rng.uniform(0.5, 2), rng.uniform(23, 27)
    return [
        [(14 - half, 2), (14 + half, 2), (14 + half, 8), (14 - half, 8)],
        [(14 - half, 7), (14, 7), (14 - gap, hem), (14 - gap - leg, hem)],
        [(14, 7), (14 + half, 7), (14 + gap + leg, hem), (14 + gap, hem)],
    ]


def bag(rng: np.random.Generator) -> list[list[tuple[float, float]]]:
    """A box and a handle."""
    half, top, hem, handle = rng.uniform(7, 12), rng.uniform(9, 13), rng.uniform(22, 26), rng.uniform(3, 6)
    return [
        [(14 - half, top), (14 + half, top), (14 + half, hem), (14 - half, hem)],
        [(14 - handle, top), (14 - handle, top - 5), (14 - handle + 2, top - 5), (14 - handle + 2, top)],
        [(14 + handle - 2, top), (14 + handle - 2, top - 5), (14 + handle, top - 5), (14 + handle, top)],
        [(14 - handle, top - 6), (14 + handle, top - 6), (14 + handle, top - 4), (14 - handle, top - 4)],
    ]


def boot(rng: np.random.Generator) -> list[list[tuple[float, float]]]:
    """A shaft and a foot."""
    shaft, top, toe, sole = rng.uniform(6, 9), rng.uniform(3, 10), rng.uniform(21, 26), rng.uniform(21, 25)
    return [
        [(5, top), (5 + shaft, top), (5 + shaft, sole), (5, sole)],
        [(5, sole - 6), (5 + shaft, sole - 7), (toe, sole - 3), (toe, sole), (5, sole)],
    ]


def woven(count: int, rng: np.random.Generator) -> torch.Tensor:
    """Garments whose cloth has holes at random: more nats than any network can save."""
    x = garments(count, rng)
    return x * torch.from_numpy(rng.random(x.shape) > HOLES)


def strokes(count: int, rng: np.random.Generator) -> torch.Tensor:
    """One straight line each, near the middle: [count, 1, 28, 28]."""
    pictures = []
    for _ in range(count):
        picture = Image.new("L", (SIZE, SIZE))
        across, down = SIZE / 2 + rng.uniform(-1.5, 1.5, size=2)
        angle, half = rng.uniform(-0.7, 0.7), rng.uniform(5, 9)
        right, low = half * math.sin(angle), half * math.cos(angle)
        line = (across - right, down - low, across + right, down + low)
        ImageDraw.Draw(picture).line(line, fill=255, width=int(rng.integers(2, 4)))
        pictures.append(picture)
    return cut(pictures)


def dots(count: int, rng: np.random.Generator) -> torch.Tensor:
    """At most three white pixels, away from the border: [count, 1, 28, 28]."""
    x = torch.zeros(count, 1, SIZE, SIZE)
    for each in x:
        for row, column in rng.integers(MARGIN, SIZE - MARGIN, size=(int(rng.integers(4)), 2)):
            each[0, row, column] = 1
    return x


def halved(x: torch.Tensor) -> torch.Tensor:
    """Digits at half their size, in the middle: [N, 1, 28, 28]."""
    quarter = SIZE // 4
    return torch.nn.functional.pad(torch.nn.functional.max_pool2d(x, 2), (quarter,) * 4)


def cut(pictures: list[Image.Image]) -> torch.Tensor:
    """Zeros and ones [N, 1, 28, 28]."""
    return torch.from_numpy(np.stack([np.asarray(each) for each in pictures])[:, None] > 127).float()
