"""Words of a view, which move with what is selected."""

from __future__ import annotations

from bokeh.models import Div, InlineStyleSheet

from ppl_vae.explore import look

# Those that a reader who does not see them is told as they change.
SPOKEN = ("card", "caption", "group_words")


def words(name: str, text: str = "") -> Div:
    """Make a place for words of HTML, by its name in the document."""
    return Div(
        text=text,
        name=name,
        # A text from outside with dollar signs is no formula.
        disable_math=True,
        sizing_mode="stretch_width",
        stylesheets=[InlineStyleSheet(css=look.SHEET)],
        html_attributes={"aria-live": "polite"} if name in SPOKEN else {},
    )
