"""Views that one can ask: Bokeh's figures of plain numbers, in a page or in a notebook."""
