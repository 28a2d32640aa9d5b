"""A view inside a page of HTML that needs nothing beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape

from bokeh.document import Document
from bokeh.embed import json_item
from bokeh.model import Model
from bokeh.resources import INLINE

# What a script of JSON may not hold as it is: an end of its own element, and the two line ends of JavaScript.
UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
TARGET = "ppl-vae-view"
# A function of what ``embed_item`` promises: it starts the view's own script.
BEGIN = """async (views) => {
  for (const {model} of views.roots) for (const script of model.tags) await script.execute(model)
}"""
# Bokeh's code runs once the page has been painted, with the still picture of the map; an unseen page has no frames.
START = """
(() => {
  const text = (id) => document.getElementById("%(target)s-" + id).textContent
  const begin = %(begin)s
  let begun = false
  const draw = async () => {
    if (begun) return
    begun = true
    const code = document.createElement("script")
    code.textContent = text("bokeh")
    document.head.append(code)
    const views = await Bokeh.embed.embed_item(JSON.parse(text("item")))
    document.getElementById("%(target)s").classList.add("drawn")
    await begin(views)
  }
  requestAnimationFrame(() => requestAnimationFrame(draw))
  setTimeout(draw, 1000)
})()
"""


# On paper nothing answers: there the still picture stands for the view.
STILL = """<style>
@media screen { #%(target)s.drawn > img { display: none; } }
@media print { #%(target)s.drawn > :not(img) { display: none !important; } }
</style>"""


@dataclass(frozen=True)
class Embedded:
    """The parts of a page.

    Attributes:
        place: the element that the view is drawn into.
        data: Bokeh's code, the data, and what draws them; for the end of the page.
    """

    place: str
    data: str


def scripts() -> str:
    """Bokeh's own code, as one text of JavaScript."""
    resources = INLINE.clone(components=["bokeh", "bokeh-widgets", "bokeh-tables"])
    return "\n".join(resources.js_raw)


def item_of(view: Model, target: str | None = TARGET) -> dict[str, object]:
    """The JSON of a view, as Bokeh's ``embed_item`` takes it."""
    if view.document is None:
        Document().add_root(view)
    return dict(json_item(view, target))


def embed(view: Model, label: str, still: str = "") -> Embedded:
    """Make the parts of a page that shows a view.

    Args:
        view: a Bokeh layout.
        label: what it is, for who cannot see it.
        still: an img element in its place until it is drawn, and on paper.
    """
    text = json.dumps(item_of(view), separators=(",", ":"), allow_nan=True)
    for unsafe, safe in UNSAFE.items():
        text = text.replace(unsafe, safe)
    start = START % {"target": TARGET, "begin": BEGIN}
    data = f'<script type="application/json" id="{TARGET}-item">{text}</script>\n<script>{start}</script>'
    style = STILL % {"target": TARGET} if still else ""
    place = f'{style}<div id="{TARGET}" role="group" aria-label="{escape(label)}">{still}</div>'
    return Embedded(place, f'<script type="text/plain" id="{TARGET}-bokeh">{scripts()}</script>\n{data}')
