"""The look of explorable views, on light and on dark."""

from __future__ import annotations

from ppl_vae.plots import style

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1f2328",
    "soft": "#57606a",
    "line": "#d0d7de",
    "grid": "#eaeef2",
    "ground": "#f6f8fa",
}
DARK = {
    "paper": "#14181d",
    "ink": "#e6edf3",
    "soft": "#9aa6b2",
    "line": "#768390",
    "grid": "#262c33",
    "ground": "#1c2128",
}
# A point without a value on the scale of its colours.
NO_VALUE = "#9e9e9e"
# A figure lies on the page's own paper.
BARE = {"border_fill_color": None, "outline_line_color": None}
GUIDE, REFERENCE = style.BLUE, style.VERMILION


def variables(look: dict[str, str]) -> dict[str, str]:
    """Name the colours for style sheets."""
    return {f"--pv-{name}": colour for name, colour in look.items()}


# Bokeh sets the words of a Div in an inline block, as wide as its widest table, which would push the page aside.
SHEET = """
.bk-clearfix { display: block !important; }
:host { color: var(--pv-ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
.soft { color: var(--pv-soft); } p { margin: .25rem 0; } h3 { margin: 0 0 .25rem; font-size: 1rem; }
.way { min-height: 4.5em; } .datum, dl { contain: layout paint style; }
.tiles { display: flex; flex-wrap: wrap; gap: .5rem; } figure { margin: 0; }
.tile { image-rendering: pixelated; background-repeat: no-repeat; outline: 1px solid var(--pv-line); }
figcaption { font-size: .75rem; color: var(--pv-soft); max-width: 6rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: 0 .75rem; margin: .25rem 0;
  font-size: .875rem; }
dt { color: var(--pv-soft); overflow-wrap: anywhere; } dd { margin: 0; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .8125rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .05rem .5rem; border-bottom: 1px solid var(--pv-line);
  font-weight: normal; }
th[scope=row] { text-align: left; color: var(--pv-soft); } .scroll { overflow: auto; max-height: 22rem; }
.classes tbody tr { cursor: pointer; } .classes tbody tr:hover { background: var(--pv-ground); }
.classes th[scope=col] { color: var(--pv-soft); } .classes th:first-child { text-align: left; }
.classes button, .strip button { font: inherit; color: var(--pv-ink); background: none; border: 0; padding: 0;
  cursor: pointer; text-align: left; overflow-wrap: anywhere; }
.classes button { text-decoration: underline dotted; text-underline-offset: 3px; }
.strip { display: flex; flex-wrap: wrap; gap: .4rem; padding: 2px; }
.strip button { font-size: .75rem; text-align: center; font-variant-numeric: tabular-nums; }
.strip .tile { margin: 0 auto; }
.swatch { display: inline-block; width: .75em; height: .75em; border-radius: 50%; margin-right: .4em; }
code { background: var(--pv-ground); padding: 0 .25em; }
button:focus-visible { outline: 3px solid #0072b2; outline-offset: 1px; }
"""
CONTROLS = """
:host { color: var(--pv-ink); }
label, .bk-input-group > label { color: var(--pv-soft); font-size: .8125rem; }
.bk-input, select.bk-input { background-color: var(--pv-paper); color: var(--pv-ink);
  border-color: var(--pv-line); }
.bk-btn, .bk-btn.bk-btn-default { background-color: var(--pv-ground); color: var(--pv-ink);
  border-color: var(--pv-line); white-space: normal; text-align: left; }
select.bk-input { appearance: auto !important; background-image: none !important; }
.bk-btn.bk-active { background-color: var(--pv-line); }
.bk-btn:focus-visible, .bk-input:focus-visible { outline: 3px solid #0072b2; outline-offset: 1px; }
"""
PLOT = ":host(:focus-visible) { outline: 3px solid #0072b2; outline-offset: 1px; }"
TABLE = """
:host { color: var(--pv-ink); }
.slick-viewport, .slick-row, .slick-header, .slick-header-columns, .slick-cell,
.slick-header-column.ui-state-default {
  background: var(--pv-paper) !important; color: var(--pv-ink) !important; }
.slick-cell, .slick-header-column.ui-state-default { border-color: var(--pv-line) !important;
  font-variant-numeric: tabular-nums; }
.slick-row.odd .slick-cell { background: var(--pv-ground) !important; }
.slick-row .slick-cell.selected, .slick-row.odd .slick-cell.selected { background: #0072b2 !important;
  color: #ffffff !important; }
.slick-header-column.ui-state-default { white-space: normal; font-weight: 600; }
"""
