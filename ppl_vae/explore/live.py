"""Training seen while it runs: a callback of ``fit`` that shows ELBO, terms and throughput as they come.

In a terminal the newest epochs stand in a table of rich, which is drawn over again; in a notebook the learning
curves are one figure that is replaced, so that the stored page holds its last state.
"""

from __future__ import annotations

import io
import time

import pandas as pd
from rich.console import Console
from rich.live import Live as Redrawn
from rich.table import Table

from ppl_vae.plots import plot_learning_curves
from ppl_vae.progress import in_notebook

# Epochs of the table, and the seconds between two states of the figure.
NEWEST, SECONDS = 12, 1.0
COLUMNS = {
    "loss": "loss", "train_elbo": "ELBO", "train_log_likelihood": "log likelihood", "train_kl": "KL",
    "validation_elbo": "validation ELBO", "test_elbo": "test ELBO", "data_per_second": "data per second",
}  # fmt: skip


class LiveTraining:
    """Shows every row of the history; in a terminal or in a notebook.

    Args:
        console: of the terminal; that of standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.rows: list[dict[str, float]] = []
        self._drawn_at = 0.0
        self._handle = ""
        self._console = console
        self._live: Redrawn | None = None

    def __call__(self, row: dict[str, float]) -> None:
        """Show a row."""
        self.rows.append(dict(row))
        if in_notebook():
            if time.monotonic() - self._drawn_at > SECONDS:
                self._draw()
            return
        if self._live is None:
            self._live = Redrawn(console=self._console or Console(stderr=True), refresh_per_second=4)
            self._live.start()
        self._live.update(self.table())

    def close(self) -> None:
        """Show the last state, and leave it there."""
        if self._live is not None:
            self._live.stop()
        elif self.rows:
            self._draw()

    def table(self) -> Table:
        """The newest epochs, a row each; columns that were never told are left out."""
        told = [name for name in COLUMNS if any(name in row for row in self.rows)]
        view = Table("epoch", *(COLUMNS[name] for name in told), title="nats per datum")
        for row in self.rows[-NEWEST:]:
            cells = [f"{row[name]:,.0f}" if name == "data_per_second" else f"{row[name]:.3f}" for name in told]
            view.add_row(f"{row['epoch']:.0f}", *cells)
        return view

    def _draw(self) -> None:
        """Replace the figure."""
        from IPython.display import Image, display, update_display

        newest = self.rows[-1]
        title = f"epoch {newest['epoch']:.0f}, {newest['data_per_second']:,.0f} data per second"
        buffer = io.BytesIO()
        plot_learning_curves(pd.DataFrame(self.rows), title=title).savefig(buffer, format="png", dpi=110)
        picture = Image(data=buffer.getvalue())
        if not self._handle:
            self._handle = f"ppl-vae-live-{id(self)}"
            display(picture, display_id=self._handle)
        else:
            update_display(picture, display_id=self._handle)
        self._drawn_at = time.monotonic()
