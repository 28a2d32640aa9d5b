"""A view in a cell of a notebook, whose selection comes back to the kernel (an anywidget, https://anywidget.dev).

An anywidget brings its own code, so that it works wherever Jupyter's widgets do (JupyterLab, Notebook, VS Code,
Colab) without an extension for the front end and without a network.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources

import bokeh
import numpy as np
from anywidget import AnyWidget
from bokeh.models import ColumnDataSource, Model
from numpy.typing import NDArray
from traitlets import Int, List, Unicode

from ppl_vae.explore.page import BEGIN, item_of, scripts

# Places on the map [M, 2] to what is decoded there [M, ...].
Decode = Callable[[NDArray[np.float64]], NDArray[np.generic]]


class View(AnyWidget):
    """A view that is shown where it is the last line of a cell.

    Attributes:
        indices: the positions of the selected data among those that are shown; it may be set too.
        chosen: the index of each of these in the data that were given [n].
    """

    _esm = (
        resources.files("ppl_vae.explore")
        .joinpath("script")
        .joinpath("widget.js")
        .read_text(encoding="utf-8")
        .replace("BEGIN", BEGIN)
    )
    # A text, since a notebook's file sorts the keys of what it stores, and Bokeh reads its models in their order.
    item = Unicode().tag(sync=True)
    bokehjs = Unicode().tag(sync=True)
    version = Unicode().tag(sync=True)
    indices = List(Int()).tag(sync=True)

    def __init__(self, view: Model, chosen: NDArray[np.int64], decode: Decode | None = None) -> None:
        if decode is not None:
            asked = view.select_one({"name": "asked", "type": ColumnDataSource})
            asked.tags = ["live"]
        super().__init__(item=json.dumps(item_of(view, None)), bokehjs=scripts(), version=bokeh.__version__)
        self.chosen = chosen
        self._decode = decode
        self.on_msg(self._answer)

    @property
    def selected(self) -> NDArray[np.int64]:
        """The positions of the selected data among those that are shown, such as ``diagnosis.x[view.selected]``."""
        return np.asarray(self.indices, dtype=np.int64)

    @property
    def selected_rows(self) -> NDArray[np.int64]:
        """The indices of the selected data in the data that were given to the diagnosis."""
        return self.chosen[self.selected]

    def _answer(self, _: object, content: dict[str, object], buffers: object) -> None:
        """Decode the point of the map that the pointer is on."""
        if self._decode is None or content.get("kind") != "decode":
            return
        place = np.array([[content["x"], content["y"]]], dtype=np.float64)
        values = np.ascontiguousarray(self._decode(place)[0], np.dtype("<f4"))
        self.send({"kind": "decoded"}, buffers=[values.tobytes()])
