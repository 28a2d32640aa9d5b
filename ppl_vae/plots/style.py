"""The look that all plots share: sizes of text in points, and colours."""

LABEL_SIZE = 9
TICK_SIZE = 8
TITLE_SIZE = 10
INK = "#262626"
REFERENCE = "#8c8c8c"

# P. Tol (2021), "Colour schemes", the scheme "muted" with a stronger yellow and a darker grey.
CLASS_COLOURS = (
    "#332288", "#ddaa33", "#117733", "#cc6677", "#88ccee",
    "#882255", "#44aa99", "#999933", "#aa4499", "#7f7f7f",
)  # fmt: skip
# M. Okabe, K. Ito (2008), "Color universal design".
BLUE, VERMILION, GREEN = "#0072b2", "#d55e00", "#009e73"
