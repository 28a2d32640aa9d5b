"""The container of ArviZ for draws; the only file that knows which ArviZ is installed.

Two generations have the same conventions and another container:

    ArviZ 0.x   the package arviz alone             arviz.InferenceData
    ArviZ 1.x   arviz_base, arviz_stats, ...        xarray.DataTree

Everything here is made of xarray datasets with dimensions of ours, so that only the last step differs. ArviZ is
imported when it is first needed: it is slow to import, and 0.x warns on the way.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import operator
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ppl_vae.diagnostics.arviz.exported import plain_attributes
from ppl_vae.diagnostics.arviz.leave_one_out import Draws, classic_draws, is_ours
from ppl_vae.errors import CheckpointError, ModelError, first_line
from ppl_vae.files import SEAL, SEAL_BYTES, as_path, require_seal, written_beside

if TYPE_CHECKING:
    from arviz import InferenceData

# Of the two that xarray reads groups with, the one that needs no compiled netCDF library.
ENGINE: Literal["h5netcdf"] = "h5netcdf"
Groups = Mapping[str, xr.Dataset]
# The container of either generation.
ArvizData: TypeAlias = "InferenceData | xr.DataTree"


@dataclass(frozen=True)
class Generation:
    """The differences between the two generations of ArviZ.

    Attributes:
        container: name of the type that holds the groups.
        build: groups and the attributes of the whole -> the container.
        groups: the container -> its groups by name.
        write: the container and a file, to netCDF.
        read: a netCDF file -> the container.
        statistics: name of the module with rhat and ess.
        elpd: k-hat and its threshold -> what plot_khat takes.
    """

    container: str
    build: Callable[[Groups, Mapping[str, object]], ArvizData]
    groups: Callable[[ArvizData], dict[str, xr.Dataset]]
    write: Callable[[ArvizData, Path], None]
    read: Callable[[Path], ArvizData]
    statistics: str
    elpd: Callable[[xr.DataArray, float], object]


def quiet_import(name: str) -> Any:
    """Import a package of ArviZ without the warnings that it is replaced by another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # arviz_plots 0.8 looks for this module as an attribute, which matplotlib 3.11 makes it by an import only.
        with contextlib.suppress(ImportError):
            importlib.import_module("matplotlib.style.core")
        return importlib.import_module(name)


def _build_classic(groups: Groups, attributes: Mapping[str, object]) -> ArvizData:
    return classic_draws(quiet_import("arviz").InferenceData)(attrs=dict(attributes), **groups)


def _groups_of_classic(data: ArvizData) -> dict[str, xr.Dataset]:
    return {name: cast(xr.Dataset, data[name]) for name in cast("InferenceData", data).groups()}


def _write_classic(data: Any, path: Path) -> None:
    data.to_netcdf(str(path), engine=ENGINE)


def _read_classic(path: Path) -> ArvizData:
    # Read whole, then closed: a lazy file could not be written over.
    data = quiet_import("arviz").InferenceData.from_netcdf(str(path), engine=ENGINE)
    loaded = data.load()
    data.close()
    return loaded


def _elpd_classic(khat: xr.DataArray, good: float) -> object:
    utilities = quiet_import("arviz.stats.stats_utils")
    return utilities.ELPDData([khat, good], ["pareto_k", "good_k"])


def _build_tree(groups: Groups, attributes: Mapping[str, object]) -> xr.DataTree:
    root = xr.Dataset(attrs=dict(attributes))
    return Draws.from_dict({"/": root, **{f"/{name}": group for name, group in groups.items()}})


def _groups_of_tree(tree: ArvizData) -> dict[str, xr.Dataset]:
    return {name: node.to_dataset() for name, node in cast(xr.DataTree, tree).children.items()}


def _write_tree(tree: ArvizData, path: Path) -> None:
    cast(xr.DataTree, tree).to_netcdf(path, engine=ENGINE)


def _elpd_tree(khat: xr.DataArray, good: float) -> object:
    nan, kind = float("nan"), quiet_import("arviz_stats").ELPDData
    numbers = {
        "elpd": nan, "se": nan, "p": nan, "n_samples": 0, "n_data_points": khat.size, "scale": "log",
        "warning": bool((khat > good).any()), "good_k": good, "pareto_k": khat,
    }  # fmt: skip
    # Before ArviZ 1.1 the kind of a score was an argument.
    named = {"kind": "importance"} if "kind" in inspect.signature(kind).parameters else {}
    return kind(**named, **numbers)


def _read_tree(path: Path) -> xr.DataTree:
    with xr.open_datatree(path, engine=ENGINE) as tree:
        return tree.load()


CLASSIC = Generation(
    container="arviz.InferenceData",
    build=_build_classic,
    groups=_groups_of_classic,
    write=_write_classic,
    read=_read_classic,
    statistics="arviz",
    elpd=_elpd_classic,
)
TREE = Generation(
    container="xarray.DataTree",
    build=_build_tree,
    groups=_groups_of_tree,
    write=_write_tree,
    read=_read_tree,
    statistics="arviz_stats",
    elpd=_elpd_tree,
)


def installed() -> Generation:
    """Find the generation that ``import arviz`` gives, or that of arviz_base where it stands alone.

    Raises:
        ModelError: there is no ArviZ.
    """
    try:
        return CLASSIC if metadata.version("arviz").startswith("0.") else TREE
    except metadata.PackageNotFoundError:
        if util.find_spec("arviz_stats") is None:
            raise ModelError("diagnostics need ArviZ, which is not installed: pip install arviz") from None
        return TREE


def build(groups: Groups, attributes: Mapping[str, object], *, generation: Generation | None = None) -> ArvizData:
    """Build the ArviZ object of groups such as posterior, prior and log_likelihood.

    Args:
        groups: datasets with dimensions chain and draw in front, where they are draws.
        attributes: of the whole; numbers and texts. What netCDF cannot hold is made one of these: a bool a number,
            a list a text.
        generation: by default the one that is installed.
    """
    tables = {name: group.copy() for name, group in groups.items()}
    for table in tables.values():
        table.attrs = plain_attributes(table.attrs)
    return (generation or installed()).build(tables, plain_attributes(attributes))


def groups_of(data: ArvizData, *, generation: Generation | None = None) -> dict[str, xr.Dataset]:
    """The datasets of an ArviZ object by group."""
    return (generation or installed()).groups(data)


def write_netcdf(data: ArvizData, path: str | Path, *, generation: Generation | None = None) -> None:
    """Write an ArviZ object as netCDF 4, with a checksum behind its end; the file is replaced whole.

    Raises:
        CheckpointError: the file could not be written; what was there is untouched.
    """
    with written_beside(as_path("path", path)) as temporary:
        (generation or installed()).write(data, temporary)


def read_netcdf(path: str | Path, *, generation: Generation | None = None) -> ArvizData:
    """Read the ArviZ object of a netCDF file into memory.

    Raises:
        CheckpointError: there is no such file, or it is damaged or none.
    """
    path, chosen = as_path("path", path), generation or installed()
    require_seal(path)
    _require_end(path)
    try:
        # h5netcdf complains once more, to nobody, where it could not open what it is given.
        with quiet_import("h5py").File(path):
            pass
        return _as_ours(chosen, chosen.read(path))
    except Exception as error:
        # Whatever the layers of readers say to a damaged file.
        raise CheckpointError(f"{path}: no readable netCDF file ({first_line(error)})") from error


def _as_ours(generation: Generation, data: Any) -> Any:
    """The groups that were read, with the warning of leave-one-out where they are ours."""
    groups = generation.groups(data)
    return generation.build(groups, data.attrs) if is_ours(groups) else data


def _require_end(path: Path) -> None:
    """Refuse a file of ours whose end was lost: where its checksum stood is something else, such as zeros.

    HDF5 writes down where its content ends: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html.
    """
    with path.open("rb") as file:
        head, size = file.read(48), file.seek(0, os.SEEK_END)
        file.seek(max(0, size - SEAL_BYTES))
        tail = file.read()
    place = 40 if head[8:9] < b"\2" else 28
    end = int.from_bytes(head[place : place + 8], "little")
    if head.startswith(b"\x89HDF") and end < size <= end + SEAL_BYTES and not tail.startswith(SEAL):
        raise CheckpointError(f"{path}: damaged: its checksum (SHA-256) was lost")


def rhat(draws: ArrayLike, *, generation: Generation | None = None) -> NDArray[np.float64]:
    """Compute the rank-normalised split R-hat of every coordinate.

    Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, https://arxiv.org/abs/1903.08008.

    Args:
        draws: [chain, draw, *event], two chains or more.
        generation: by default the one that is installed.

    Returns:
        [*event]; NaN where the draws of a coordinate are all equal.
    """
    return _statistic("rhat", draws, generation)


def ess(draws: ArrayLike, method: str = "bulk", *, generation: Generation | None = None) -> NDArray[np.float64]:
    """Compute the effective sample size of autocorrelated draws of every coordinate.

    Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, https://arxiv.org/abs/1903.08008.

    Args:
        draws: [chain, draw, *event].
        method: "bulk" (of ranks), "tail", "mean" (which the error of a mean of these very values takes, such as
            that of squares, whose bulk size is too large), or another that ArviZ knows.
        generation: by default the one that is installed.

    Returns:
        [*event].
    """
    return _statistic("ess", draws, generation, method=method)


def _statistic(name: str, draws: ArrayLike, generation: Generation | None, **options: str) -> NDArray[np.float64]:
    values = np.asarray(draws, dtype=np.float64)
    if values.ndim < 2:
        raise ModelError(f"{name}: expected draws of shape [chain, draw, *event], got {list(values.shape)}")
    values = _of_range_one(values)
    dims = ("chain", "draw", *(f"axis_{axis}" for axis in range(values.ndim - 2)))
    function = operator.attrgetter(name)(quiet_import((generation or installed()).statistics))
    return function(xr.Dataset({"draws": (dims, values)}), **options)["draws"].to_numpy()


def _of_range_one(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide every coordinate of [chain, draw, *event] by a power of two near its range, which rounds nothing."""
    # ArviZ takes a range below 1e-15 for a constant, and counts all draws of a constant as independent.
    span = np.ptp(values, axis=(0, 1)) if values.size else np.zeros(values.shape[2:])
    return np.ldexp(values, np.where(np.isfinite(span), -np.frexp(span)[1], 0))
