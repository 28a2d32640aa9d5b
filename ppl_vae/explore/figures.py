"""The figures of a view: the map of the data, and what is decoded under the pointer."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
from bokeh.models import (
    BasicTicker,
    ColorBar,
    ColumnDataSource,
    Ellipse,
    HoverTool,
    InlineStyleSheet,
    LinearColorMapper,
    Model,
    PlainText,
    Scatter,
    Text,
)
from bokeh.palettes import Cividis256
from bokeh.plotting import figure

from ppl_vae.explore import look
from ppl_vae.explore.facts import Facts
from ppl_vae.explore.scene import Scene
from ppl_vae.explore.words import words

MAP_HEIGHT, DECODED, CLOSE = 480, 150, 260
TAG = {"padding": 4, "border_radius": 4, "background_fill_alpha": 0.85}
KEYS = "Map of the data. Arrow keys step through the rows of the table, Enter selects a datum, Escape clears"


def latent_map(scene: Scene, points: ColumnDataSource) -> dict[str, Model | None]:
    """Make the map of the data with its bar of colours, and what is drawn of the datum in focus."""
    plot = figure(
        height=MAP_HEIGHT,
        sizing_mode="stretch_width",
        min_width=300,
        tools="pan,wheel_zoom,box_zoom,lasso_select,box_select,tap,reset",
        active_drag="lasso_select",
        match_aspect=True,
        html_attributes={"tabindex": "0", "aria-label": KEYS},
        stylesheets=[InlineStyleSheet(css=look.PLOT)],
        name="map",
        **look.BARE,
    )
    plot.toolbar.logo = None
    # Plain text, since a string with dollar signs would be taken for a formula.
    plot.xaxis.axis_label, plot.yaxis.axis_label = (PlainText(text=name) for name in scene.axes)
    mark = {"x": "x", "y": "y", "size": mark_size(len(scene.points)), "fill_color": "colour", "line_color": None}
    glyph, faint = Scatter(fill_alpha=0.8, **mark), Scatter(fill_alpha=0.12, **mark)
    drawn = plot.add_glyph(points, glyph, selection_glyph=glyph, nonselection_glyph=faint)
    # The draws of one datum may lie far out: the map would be drawn over again, at another scale, for each.
    plot.x_range.renderers = plot.y_range.renderers = [drawn]
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=None))
    return {"map": plot, "mark": glyph, "bar": _bar(plot), **_posterior_glyphs(plot)}


def mark_size(count: int) -> float:
    """The diameter of each of so many points, in pixels."""
    return float(np.clip(300 / np.sqrt(count), 4, 12))


def _bar(plot: figure) -> ColorBar:
    mapper = LinearColorMapper(palette=list(Cividis256), low=0, high=1)
    ticker = BasicTicker(desired_num_ticks=5)
    bar = ColorBar(color_mapper=mapper, ticker=ticker, width=10, title="", label_standoff=6, visible=False)
    plot.add_layout(bar, "right")
    return bar


def _posterior_glyphs(plot: figure) -> dict[str, Model | None]:
    sources = {name: ColumnDataSource({"x": [], "y": []}) for name in ("guide_draws", "reference_draws", "ring")}
    ellipses = ColumnDataSource(
        {key: [] for key in ("x", "y", "width", "height", "angle", "colour")}, name="ellipses"
    )
    for name, colour in (("guide_draws", look.GUIDE), ("reference_draws", look.REFERENCE)):
        sources[name].name = name
        plot.scatter(
            "x", "y", source=sources[name], size=3.5, color=colour, alpha=0.75, line_color=None, level="overlay"
        )
    plot.add_glyph(ellipses, _ellipse(), level="overlay")
    ring = Scatter(x="x", y="y", size=16, fill_alpha=0, line_width=2.5, line_color="#000000")
    plot.add_glyph(sources["ring"], ring, level="overlay")
    # A text of the canvas: a tooltip of HTML makes the browser lay out the page for every move of the pointer.
    sources["ring"].data["words"] = []
    sources["ring"].name = "ring"
    tag = Text(x="x", y="y", text="words", x_offset=12, y_offset=-10, text_font_size="13px", **TAG)
    plot.add_glyph(sources["ring"], tag, level="overlay")
    return {**sources, "ellipses": ellipses, "ring_glyph": ring, "tag": tag}


def closeup(scene: Scene) -> dict[str, Model | None]:
    """Make the figure of the posterior of the datum in focus alone, which fits its axes to the draws."""
    empty: dict[str, list[float]] = {"x": [], "y": []}
    named = {"close_guide": look.GUIDE, "close_reference": look.REFERENCE}
    found: dict[str, Model | None] = {name: ColumnDataSource(dict(empty), name=name) for name in named}
    keys = ("x", "y", "width", "height", "angle", "colour")
    found["close_ellipse"] = ColumnDataSource({key: [] for key in keys}, name="close_ellipse")
    if scene.posterior is None:
        return {**found, "closeup": None}
    plot = figure(
        height=CLOSE, sizing_mode="stretch_width", min_width=260, tools="", toolbar_location=None, name="closeup",
        html_attributes={"role": "img", "aria-label": "Posterior of the datum in focus, close up"}, title=" ",
        **look.BARE,
    )  # fmt: skip
    plot.xaxis.axis_label, plot.yaxis.axis_label = (PlainText(text=name) for name in scene.axes)
    # The ellipse reaches beyond the draws.
    plot.x_range.range_padding = plot.y_range.range_padding = 0.25
    # The reference lies below: it has more draws.
    for name in reversed(named):
        plot.scatter("x", "y", source=found[name], size=4, color=named[name], alpha=0.6, line_color=None)
    plot.add_glyph(found["close_ellipse"], _ellipse())
    return {**found, "closeup": plot}


def _ellipse() -> Ellipse:
    of = {key: key for key in ("x", "y", "width", "height", "angle")}
    return Ellipse(**of, fill_alpha=0, line_color="colour", line_width=2)


def decoded_figure(facts: Facts) -> dict[str, Model | None]:
    """Make the figure of what is decoded under the pointer; the source "asked" holds where that is."""
    plane = facts["plane"]
    asked = ColumnDataSource({"x": [], "y": []}, name="asked")
    told = escape(f"Decoded at the pointer. {plane['words']}") if isinstance(plane, Mapping) else ""
    beside = {
        "decoded_row": words("decoded_row"),
        "decoded_words": words("decoded_words", f"<p class='soft'>{told}</p>"),
    }
    if not isinstance(plane, Mapping) or plane["shape"] is None:
        return {"asked": asked, "decoded": None, "decoded_plot": None, **beside}
    height, width, _ = plane["shape"]
    picture = np.full((height, width), 0xFF808080, np.uint32)
    source = ColumnDataSource(
        {"image": [picture], "x": [0], "y": [0], "dw": [width], "dh": [height]}, name="decoded"
    )
    plot = figure(
        width=DECODED, height=DECODED, toolbar_location=None, match_aspect=True, x_range=(0, width),
        y_range=(0, height), tools="", x_axis_location=None, y_axis_location=None, title=None,
        name="decoded_plot", frame_align=False, **look.BARE,
    )  # fmt: skip
    plot.grid.visible = False
    plot.image_rgba("image", source=source, x="x", y="y", dw="dw", dh="dh")
    return {"asked": asked, "decoded": source, "decoded_plot": plot, **beside}
