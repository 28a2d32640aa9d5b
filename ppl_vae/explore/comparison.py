"""A page that compares a few things: charts that answer to the pointer, over a table of the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

import numpy as np
from bokeh.models import (
    Button,
    Column,
    ColumnDataSource,
    CustomJS,
    HoverTool,
    InlineStyleSheet,
    Model,
    PlainText,
    Row,
)
from bokeh.models import Whisker as Whiskers
from bokeh.plotting import figure

from ppl_vae.explore import look
from ppl_vae.explore.facts import ColumnFacts, column_facts
from ppl_vae.explore.page import embed
from ppl_vae.explore.scene import Column as Numbers
from ppl_vae.explore.table import data_table

HEIGHT, ROW = 430, 30
TOOLTIP = """<div style="font-size: 13px"><strong>@name</strong><br>@told_x<br>@told_y</div>"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="ppl_vae">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0; background: #ffffff; color: #1f2328; font: 16px/1.55 system-ui, Arial, sans-serif; }}
main {{ max-width: 70rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }} p {{ max-width: 46rem; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #14181d; color: #e6edf3; }} }}
@media (max-width: 46rem) {{ main {{ padding: 1.25rem .75rem; }} }}
</style>
</head>
<body><main><h1>{title}</h1>{intro}
{place}
<noscript><p>These charts need JavaScript.</p></noscript></main>
{data}
</body>
</html>
"""


@dataclass(frozen=True)
class Chart:
    """Two columns against each other.

    Attributes:
        x: the title of the column to the right.
        y: that of the column upwards.
        logarithmic: whether both axes are.
        line: the data that a line joins, in order, such as a frontier; may be empty.
    """

    x: str
    y: str
    logarithmic: bool = False
    line: tuple[int, ...] = ()


def comparison_page(
    title: str, intro: Sequence[str], names: Sequence[str], columns: Sequence[Numbers], charts: Sequence[Chart]
) -> str:
    """Write the page.

    Args:
        title: of the page.
        intro: sentences above the charts.
        names: of what is compared [N].
        columns: its numbers; errors are drawn as whiskers.
        charts: which columns are drawn.

    Returns:
        HTML that needs nothing beside it.
    """
    facts = column_facts(columns)
    source = ColumnDataSource({"name": [str(name) for name in names], **_data(facts, columns)}, name="compared")
    plots = [_chart(chart, facts, columns, source) for chart in charts]
    table = data_table(source, facts, min(560, 60 + ROW * len(names)))
    sheet = [InlineStyleSheet(css=look.CONTROLS)]
    csv = Button(label="Numbers (CSV)", width=130, stylesheets=sheet, name="csv")
    svg = Button(label="Charts (SVG)", width=130, stylesheets=sheet, name="svg")
    wrapped = {"flex-wrap": "wrap", "gap": "12px"}
    tall = [Row(children=plots, styles=wrapped, sizing_mode="stretch_width")] if plots else []
    root = Column(children=[*tall, Row(children=[csv, svg], styles=wrapped), table], sizing_mode="stretch_width")
    root.tags = [_script(root, plots, source, facts, csv, svg)]
    made = embed(root, title)
    about = "".join(f"<p>{escape(sentence)}</p>" for sentence in intro)
    return PAGE.format(title=escape(title), intro=about, place=made.place, data=made.data)


def _data(facts: Sequence[ColumnFacts], columns: Sequence[Numbers]) -> dict[str, object]:
    found: dict[str, object] = {}
    for fact, column in zip(facts, columns, strict=True):
        found[fact.key] = np.asarray(column.values, float) if column.is_number else [str(v) for v in column.values]
        if column.is_number:
            found[f"told_{fact.key}"] = _told(column)
        if column.errors is not None:
            values, errors = np.asarray(column.values, float), np.asarray(column.errors, float)
            found[fact.error] = errors
            found[f"low_{fact.key}"], found[f"high_{fact.key}"] = values - errors, values + errors
    return found


def _chart(
    chart: Chart, facts: Sequence[ColumnFacts], columns: Sequence[Numbers], source: ColumnDataSource
) -> figure:
    by_title = {fact.title: (fact, column) for fact, column in zip(facts, columns, strict=True)}
    (x, of_x), (y, of_y) = by_title[chart.x], by_title[chart.y]
    scale = "log" if chart.logarithmic else "linear"
    plot = figure(
        height=HEIGHT, min_width=310, sizing_mode="stretch_width", x_axis_type=scale, y_axis_type=scale,
        tools="pan,wheel_zoom,box_zoom,tap,reset", styles={"flex": "1 1 340px"},
        html_attributes={"aria-label": f"{y.heading} against {x.heading}; the numbers are in the table"},
    )  # fmt: skip
    plot.toolbar.logo = None
    plot.xaxis.axis_label, plot.yaxis.axis_label = PlainText(text=x.heading), PlainText(text=y.heading)
    if chart.line:
        joined = [np.asarray(column.values)[list(chart.line)] for column in (of_x, of_y)]
        plot.line(*joined, color=look.GUIDE, line_width=1.5, line_alpha=0.6)
    _draw_whiskers(plot, source, (x.key, y.key))
    # One source for all: what is selected in the table is seen in every chart, and the other way round.
    colours = {"color": look.GUIDE, "selection_color": look.REFERENCE}
    drawn = plot.scatter(x.key, y.key, source=source, size=11, alpha=0.85, **colours)
    tooltip = TOOLTIP.replace("@told_x", f"@told_{x.key}").replace("@told_y", f"@told_{y.key}")
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=tooltip))
    return plot


def _told(column: Numbers) -> list[str]:
    errors = np.full(len(column.values), np.nan) if column.errors is None else column.errors
    return [
        f"{column.heading}: {value:.4g}" + (f" ± {error:.2g}" if np.isfinite(error) else "")
        for value, error in zip(column.values, errors, strict=True)
    ]


def _draw_whiskers(plot: figure, source: ColumnDataSource, keys: tuple[str, str]) -> None:
    """Draw one standard error, or deviation, to either side, where it is known."""
    for key, base, dimension in ((keys[0], keys[1], "width"), (keys[1], keys[0], "height")):
        if f"low_{key}" in source.data:
            whiskers = Whiskers(
                source=source, dimension=dimension, base=base, lower=f"low_{key}", upper=f"high_{key}",
                line_color=look.GUIDE, line_alpha=0.6, upper_head=None, lower_head=None,
            )  # fmt: skip
            plot.add_layout(whiskers)


def _script(
    root: Model,
    plots: list[figure],
    source: ColumnDataSource,
    facts: Sequence[ColumnFacts],
    csv: Button,
    svg: Button,
) -> CustomJS:
    code = resources.files("ppl_vae.explore").joinpath("script", "comparison.js").read_text(encoding="utf-8")
    columns = [
        {"key": each.key, "heading": each.heading, "error": each.error, "title": each.title} for each in facts
    ]
    both = {"light": look.LIGHT, "dark": look.DARK}
    themes = {name: {**each, "variables": look.variables(each)} for name, each in both.items()}
    arguments = {"root": root, "plots": plots, "source": source, "columns": columns, "themes": themes}
    return CustomJS(args={**arguments, "csv": csv, "svg": svg}, code=code)
