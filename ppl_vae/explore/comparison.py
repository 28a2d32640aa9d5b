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
from numpy.typing import NDArray

from ppl_vae.explore import look
from ppl_vae.explore.facts import ColumnFacts, column_facts
from ppl_vae.explore.page import embed
from ppl_vae.explore.scene import Column as Numbers
from ppl_vae.explore.table import data_table

HEIGHT, ROW = 430, 30
# More names than these would lie on each other in a chart.
MOST_NAMED = 8
# Pixels from name to name, and the shares of a chart that a name takes, to the side and upwards.
LINE, NAME = 14.0, (0.3, 0.045)
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
@media screen {{ .paper {{ display: none; }} }}
table {{ border-collapse: collapse; font-size: .8125rem; }}
th, td {{ text-align: left; padding: .1rem .6rem .1rem 0; vertical-align: top; }}
</style>
</head>
<body><main><h1>{title}</h1>{intro}
{place}
<noscript><style>.paper {{ display: table !important; }}</style><p>The charts need JavaScript.</p></noscript>
{paper}</main>
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
    title: str,
    intro: Sequence[str],
    of: str,
    names: Sequence[str],
    columns: Sequence[Numbers],
    charts: Sequence[Chart],
) -> str:
    """Write the page.

    Args:
        title: of the page.
        intro: sentences above the charts.
        of: what is compared, such as "recipe".
        names: of each of them [N].
        columns: its numbers; errors are drawn as whiskers.
        charts: which columns are drawn.

    Returns:
        HTML that needs nothing beside it.
    """
    facts = column_facts(columns)
    source = ColumnDataSource({"name": [str(name) for name in names], **_data(facts, columns)}, name="compared")
    plots = [_chart(chart, facts, columns, source) for chart in charts]
    for number, plot in enumerate(plots, 1):
        plot.name = f"chart {number}"
    table = data_table(source, facts, min(560, 60 + ROW * len(names)), of)
    sheet = [InlineStyleSheet(css=look.CONTROLS)]
    csv = Button(label="Download numbers (CSV)", width=185, stylesheets=sheet, name="csv")
    svg = Button(label="Download charts (SVG)", width=175, stylesheets=sheet, name="svg")
    wrapped = {"flex-wrap": "wrap", "gap": "12px"}
    tall = [Row(children=plots, styles=wrapped, sizing_mode="stretch_width")] if plots else []
    root = Column(children=[*tall, Row(children=[csv, svg], styles=wrapped), table], sizing_mode="stretch_width")
    root.tags = [_script(root, plots, source, facts, csv, svg, of)]
    made = embed(root, title)
    about = "".join(f"<p>{escape(sentence)}</p>" for sentence in intro)
    paper = _paper(of, names, columns)
    return PAGE.format(title=escape(title), intro=about, place=made.place, data=made.data, paper=paper)


def _paper(of: str, names: Sequence[str], columns: Sequence[Numbers]) -> str:
    """Write the numbers as a plain table, for paper and where no code runs."""
    cells = [_told(column) if column.is_number else [str(value) for value in column.values] for column in columns]
    heads = "".join(f"<th>{escape(each)}</th>" for each in (of, *(column.heading for column in columns)))
    rows = zip(map(str, names), *cells, strict=True)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table class='paper'><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"


def _data(facts: Sequence[ColumnFacts], columns: Sequence[Numbers]) -> dict[str, object]:
    found: dict[str, object] = {}
    for fact, column in zip(facts, columns, strict=True):
        found[fact.key] = np.asarray(column.values, float) if column.is_number else [str(v) for v in column.values]
        if column.is_number:
            found[f"told_{fact.key}"] = [f"{column.heading}: {told}" for told in _told(column)]
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
        tools="pan,wheel_zoom,box_zoom,tap,reset", styles={"flex": "1 1 460px"},
        **look.BARE,
        html_attributes={"aria-label": f"{y.heading} against {x.heading}; the numbers are in the table"},
    )  # fmt: skip
    plot.toolbar.logo = None
    plot.xaxis.axis_label, plot.yaxis.axis_label = PlainText(text=x.heading), PlainText(text=y.heading)
    for axis in (plot.x_range, plot.y_range):
        axis.range_padding = 0.15
    if chart.line:
        joined = [np.asarray(column.values)[list(chart.line)] for column in (of_x, of_y)]
        plot.line(*joined, color=look.GUIDE, line_width=1.5, line_alpha=0.6)
    _draw_whiskers(plot, source, (x.key, y.key))
    # One source for all: what is selected in the table is seen in every chart, and the other way round.
    on_line = np.isin(np.arange(len(of_x.values)), chart.line)
    shades = np.where(on_line, look.GUIDE, look.NO_VALUE) if chart.line else [look.GUIDE] * len(of_x.values)
    source.data[f"shade_{y.key}"] = [str(shade) for shade in shades]
    drawn = plot.scatter(
        x.key, y.key, source=source, size=11, alpha=0.85, color=f"shade_{y.key}", selection_color=look.REFERENCE
    )
    if len(of_x.values) <= MOST_NAMED:
        points = np.column_stack([of_x.values, of_y.values]).astype(float)
        _draw_names(plot, (x.key, y.key), source, np.log(points) if chart.logarithmic else points)
    tooltip = TOOLTIP.replace("@told_x", f"@told_{x.key}").replace("@told_y", f"@told_{y.key}")
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=tooltip))
    return plot


def _draw_names(plot: figure, keys: tuple[str, str], source: ColumnDataSource, points: NDArray[np.float64]) -> None:
    """Write the names beside the points [N, 2], towards the middle of the chart and below each other."""
    right = points[:, 0] > (np.nanmin(points[:, 0]) + np.nanmax(points[:, 0])) / 2
    source.data[f"align_{keys[1]}"] = ["right" if each else "left" for each in right]
    source.data[f"beside_{keys[1]}"] = np.where(right, -9.0, 9.0)
    source.data[f"below_{keys[1]}"] = LINE * _taken_lines(points, right) - 5.0
    plot.text(
        *keys, text="name", source=source, x_offset=f"beside_{keys[1]}", y_offset=f"below_{keys[1]}",
        text_font_size="12px", text_align=f"align_{keys[1]}", name="names", nonselection_text_alpha=1.0,
    )  # fmt: skip


def _taken_lines(points: NDArray[np.float64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How many names at nearly the same place stand above each [N], as shares of the chart's extent."""
    extent = np.nanmax(points, 0) - np.nanmin(points, 0)
    place = (points - np.nanmin(points, 0)) / np.where(extent > 0, extent, 1.0)
    apart = np.abs(place[:, None] - place[None])
    near = (apart[..., 0] < NAME[0]) & (apart[..., 1] < NAME[1]) & (right[:, None] == right[None])
    return np.tril(near, -1).sum(1).astype(float)


def _told(column: Numbers) -> list[str]:
    errors = np.full(len(column.values), np.nan) if column.errors is None else column.errors
    return [
        f"{value:.4g}" + (f" ± {error:.2g}" if np.isfinite(error) else "")
        for value, error in zip(column.values, errors, strict=True)
    ]


def _draw_whiskers(plot: figure, source: ColumnDataSource, keys: tuple[str, str]) -> None:
    """Draw one standard error, or deviation, to either side, where it is known."""
    for key, base, dimension in ((keys[0], keys[1], "width"), (keys[1], keys[0], "height")):
        if f"low_{key}" in source.data:
            whiskers = Whiskers(
                source=source, dimension=dimension, base=base, lower=f"low_{key}", upper=f"high_{key}",
                line_color=look.NO_VALUE, line_alpha=0.9, upper_head=None, lower_head=None,
            )  # fmt: skip
            plot.add_layout(whiskers)


def _script(
    root: Model,
    plots: list[figure],
    source: ColumnDataSource,
    facts: Sequence[ColumnFacts],
    csv: Button,
    svg: Button,
    of: str,
) -> CustomJS:
    code = resources.files("ppl_vae.explore").joinpath("script", "comparison.js").read_text(encoding="utf-8")
    columns = [
        {"key": each.key, "heading": each.heading, "error": each.error, "title": each.title} for each in facts
    ]
    both = {"light": look.LIGHT, "dark": look.DARK}
    themes = {name: {**each, "variables": look.variables(each)} for name, each in both.items()}
    arguments = {"root": root, "plots": plots, "source": source, "columns": columns, "themes": themes}
    return CustomJS(args={**arguments, "csv": csv, "svg": svg, "what": of}, code=code)
