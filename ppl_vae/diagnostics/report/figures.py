"""The figures of a diagnosis, embedded in a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppl_vae.diagnostics.diagnosis import Diagnosis
from ppl_vae.diagnostics.topics import TOPICS
from ppl_vae.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 160
# A screen's inch, as style sheets count it.
PIXELS_PER_INCH = 96


@dataclass(frozen=True)
class Picture:
    """The picture of a figure inside a page.

    Attributes:
        source: the PNG as a data URI.
        width: in pixels of a page, at the size that its text is meant for.
        caption: one or two sentences.
    """

    source: str
    width: int
    caption: str


def embed(figure: Figure, caption: str) -> Picture:
    """Embed a figure as a PNG in the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Picture(source, round(figure.get_figwidth() * PIXELS_PER_INCH), caption)


def pictures(topic: str, diagnosis: Diagnosis) -> list[Picture]:
    """Draw the pictures of a topic; there are none where it was not run, or has none."""
    numbers, draw = diagnosis.findings[topic].numbers, TOPICS[topic].figures
    if numbers is None or draw is None:
        return []
    try:
        return [embed(figure, caption) for figure, caption in draw(numbers, diagnosis)]
    except DataError:
        # Numbers that no axis holds, such as the KL of a dimension that is infinite; the table still has them.
        return []
