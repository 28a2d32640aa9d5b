"""Tables that are sorted by a click, with numbers beside their errors, and texts as the texts that they are."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bokeh.models import ColumnDataSource, DataTable, HTMLTemplateFormatter, InlineStyleSheet, TableColumn

from ppl_vae.explore import look
from ppl_vae.explore.facts import ColumnFacts

ROW, NARROW, WIDE = 26, 90, 150
# Pixels of a letter and of the space about a text, and the widest column.
LETTER, ABOUT, WIDEST = 7.5, 20, 300
# In the template <%- escapes what it writes.
TEXT = "<%- value %>"
NUMBER = (
    "<% if (Number.isNaN(value)) { %>\N{EN DASH}<% } else { %>"
    "<%- (Number.isInteger(value) || !Number.isFinite(value) ? "
    'String(value) : value.toPrecision(4)).replace("-", "\N{MINUS SIGN}").replace("Infinity", "∞") %>ERROR<% } %>'
)  # fmt: skip
ERROR = '<% if (Number.isFinite(KEY)) { %> ± <%- KEY.toPrecision(2).replace("-", "\N{MINUS SIGN}") %><% } %>'


def data_table(
    source: ColumnDataSource, columns: Sequence[ColumnFacts], height: int, of: str = "datum"
) -> DataTable:
    """Make the table of a source whose columns have the keys of ``columns``, after the names of its rows.

    Args:
        source: of the rows, each with its "name".
        columns: what is shown.
        height: in pixels.
        of: what a row is, such as "datum".
    """
    longest = max((len(str(name)) for name in source.data["name"]), default=0)
    named = TableColumn(
        field="name", title=of, width=_width(NARROW, longest), formatter=HTMLTemplateFormatter(template=TEXT)
    )
    return DataTable(
        source=source,
        name="table",
        columns=[named, *(_column(each) for each in columns)],
        height=height,
        row_height=ROW,
        sizing_mode="stretch_width",
        fit_columns=False,
        index_position=None,
        autosize_mode="none",
        sortable=True,
        selectable=True,
        scroll_to_selection=False,
        stylesheets=[InlineStyleSheet(css=look.TABLE)],
        html_attributes={"tabindex": "0", "aria-label": "Table of the data: arrow keys step through its rows"},
    )


def _column(column: ColumnFacts) -> TableColumn:
    error = ERROR.replace("KEY", column.error) if column.error else ""
    template = NUMBER.replace("ERROR", error) if column.number else TEXT
    return TableColumn(
        field=column.key,
        # The header is markup.
        title=escape(column.heading),
        width=_width(WIDE if column.error else NARROW, len(column.heading)),
        default_sort="descending",
        formatter=HTMLTemplateFormatter(template=template),
    )


def _width(least: int, letters: int) -> int:
    """The width of a column that holds a text of so many letters."""
    return min(WIDEST, max(least, round(ABOUT + LETTER * letters)))
