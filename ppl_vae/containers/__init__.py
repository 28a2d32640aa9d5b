"""Containers in which researchers hold data, opened at one door."""

from ppl_vae.containers.door import (
    Data,
    Frame,
    Opened,
    Table,
    is_container,
    opened,
    require_one_order,
    require_same_dimension,
)
from ppl_vae.containers.labels import Axes, CoordinateNames, Labels, require_same_order
from ppl_vae.containers.rows import Rows, SparseRows, StoredRows, dense, some_of

__all__ = [
    "Axes",
    "CoordinateNames",
    "Data",
    "Frame",
    "Labels",
    "Opened",
    "Rows",
    "SparseRows",
    "StoredRows",
    "Table",
    "dense",
    "is_container",
    "opened",
    "require_one_order",
    "require_same_dimension",
    "require_same_order",
    "some_of",
]
