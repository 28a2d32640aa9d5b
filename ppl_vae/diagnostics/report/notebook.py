"""The function ``explore``: the map of a diagnosis in a cell of a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ppl_vae.arrays import Array
from ppl_vae.diagnostics.diagnosis import Diagnosis
from ppl_vae.diagnostics.report.explorable import Wishes, explorable_of
from ppl_vae.errors import ModelError

if TYPE_CHECKING:
    from ppl_vae.explore.notebook import View


def explore(
    diagnosis: Diagnosis, *, columns: Mapping[str, Array] | None = None, layout: str | Sequence[int] = "auto"
) -> View:
    """Show the data of a diagnosis on a map of their codes that answers to pointer and keys.

    What the report shows in a page, a notebook shows in place; in addition the point under the pointer is decoded
    by the model itself, and the selection comes back: ``view.selected`` holds positions in ``diagnosis.x``, and
    ``view.selected_rows`` those in the data that were diagnosed.

    Args:
        diagnosis: of ``pv.diagnose``; its pair must not have changed since.
        columns: numbers or texts of yours by name, one per diagnosed datum [n], for colours and table; such as
            those of ``diagnostics.run_typicality`` on ``diagnosis.x``.
        layout: of the map. "auto" shows two latent dimensions as they are and two principal components of more;
            "pca"; "umap", where umap-learn is installed; or two latent dimensions, counted from 0, such as (0, 3).

    Raises:
        ModelError: Bokeh or anywidget is not installed; the layout is unknown; there is no map, as where no datum
            has a continuous latent of its own; or the pair has changed since.
        DataError: a column is of another number of data.
    """
    try:
        from ppl_vae.explore.notebook import View
        from ppl_vae.explore.view import explorable
    except ModuleNotFoundError as error:
        raise ModelError(f"pv.explore needs {error.name}: pip install bokeh anywidget") from None
    found = explorable_of(diagnosis, Wishes(columns or {}, layout))
    return View(explorable(found.scene, found.names), diagnosis.chosen, found.decoder)
