"""The explorable part of a diagnosis: a map of the codes that answers to pointer and keys."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from ppl_vae.arrays import Array
from ppl_vae.diagnostics.arviz.exported import exported_names
from ppl_vae.diagnostics.diagnosis import REFUSALS, Diagnosis
from ppl_vae.diagnostics.reference.reference_posterior import RHAT
from ppl_vae.diagnostics.report.chart import Chart, Latents, make_chart
from ppl_vae.diagnostics.report.decoded import NUM_AVERAGED, NoMap, case_of, decode_codes, decode_draws, latents_of
from ppl_vae.diagnostics.report.groups import groups_of
from ppl_vae.diagnostics.report.per_datum import CLASS, KHAT, columns_of
from ppl_vae.diagnostics.report.shading import Shading
from ppl_vae.diagnostics.topics import Case
from ppl_vae.explore.scene import Pictures, Plane, Posterior, Scene, TableRows

INSTALL = "pip install bokeh"
# Draws of the guide that are shown per datum, all together at most, and of HMC.
MOST_DRAWS, MOST_NUMBERS, MOST_REFERENCE = 60, 600_000, 400
# Numbers of the decoded grid, and the fewest and most points of its side.
GRID_NUMBERS, LEAST_SIDE, MOST_SIDE = 1_000_000, 5, 25
MARGIN = 0.05


@dataclass(frozen=True)
class Wishes:
    """The wishes of a caller for the map.

    Attributes:
        columns: numbers or texts by name, one per diagnosed datum.
        layout: "auto", "pca", "umap", or two latent dimensions.
    """

    columns: Mapping[str, Array] = field(default_factory=dict)
    layout: str | Sequence[int] = "auto"


@dataclass(frozen=True)
class Explorable:
    """A scene with what decodes a point of its map.

    Attributes:
        scene: what is shown.
        names: of the data [n].
        decoder: places on the map [M, 2] to tiles as the scene's; None where no point can be decoded.
    """

    scene: Scene
    names: list[str]
    decoder: Decoder | None


@dataclass(frozen=True)
class Decoder:
    """Decodes places of the map by the model itself."""

    case: Case
    latents: Latents
    chart: Chart
    shading: Shading | None

    def __call__(self, places: NDArray[np.float64]) -> NDArray[np.generic]:
        """Decode [M, 2] to pictures [M, H, W(, 3)] from 0 to 255, or to rows [M, D]."""
        values = decode_codes(self.case, self.latents, self.chart.code(places))
        return values if self.shading is None else self.shading(values)


def is_installed() -> bool:
    """Tell whether Bokeh is there."""
    return importlib.util.find_spec("bokeh") is not None


def explorable_of(diagnosis: Diagnosis, wishes: Wishes) -> Explorable:
    """Collect what the map of a diagnosis shows.

    Raises:
        NoMap: the pair has changed since, or has no latents of single data.
        ModelError: the layout is unknown.
        DataError: a column is of another number of data.
    """
    case, latents = _held(diagnosis)
    chart = make_chart(latents, wishes.layout, case.seed)
    columns = columns_of(diagnosis, case, wishes.columns)
    titles = [column.title for column in columns]
    notes = [chart.words]
    shading = None if diagnosis.x.dim() == 2 else Shading.of(diagnosis.x)
    notes += [] if shading is None else shading.notes
    pictures, rows = _decoded(diagnosis, case, shading, notes)
    decoder = None if chart.directions is None else Decoder(case, latents, chart, shading)
    plane = None if decoder is None else _plane(decoder, notes)
    scene = Scene(
        chart.points,
        chart.axes,
        columns,
        CLASS if CLASS in titles else KHAT if KHAT in titles else titles[0],
        KHAT if KHAT in titles else titles[-1],
        pictures,
        rows,
        groups_of(diagnosis),
        None if chart.directions is None else _posterior(diagnosis, latents, chart),
        plane,
        notes,
        _limit(diagnosis),
    )
    # Verdicts and figures name a datum so too.
    names = np.arange(len(chart.points)) if diagnosis.labels.rows is None else diagnosis.labels.rows
    return Explorable(scene, [str(name) for name in names], decoder if plane is not None else None)


def _held(diagnosis: Diagnosis) -> tuple[Case, Latents]:
    """Return the pair with the data, and the guide's draws.

    Raises:
        NoMap: there are none, for the reason that it gives.
    """
    try:
        case = case_of(diagnosis)
        return case, latents_of(diagnosis, case)
    except NoMap:
        raise
    except REFUSALS as error:
        raise NoMap(" ".join(str(error).split()) or type(error).__name__) from error


def _decoded(
    diagnosis: Diagnosis, case: Case, shading: Shading | None, notes: list[str]
) -> tuple[Pictures | None, TableRows | None]:
    """Show the data beside their reconstructions and decoded draws of the guide."""
    x = diagnosis.x.detach().to(torch.get_default_dtype()).cpu().numpy()
    shown = {"datum": x}
    try:
        mean, draws = decode_draws(case)
        shown["reconstruction"] = mean
        shown |= {f"draw {k + 1}": draw for k, draw in enumerate(draws)}
        notes.append(
            f"The reconstruction is the mean of E[x|z] over {NUM_AVERAGED} draws of the guide; a draw is E[x|z] "
            "at one."
        )
    except REFUSALS as error:
        notes.append(f"Nothing is decoded: {error}.")
    if shading is None:
        names = diagnosis.column_names or [f"column {d + 1}" for d in range(x.shape[1])]
        return None, TableRows(names, shown, diagnosis.words)
    return Pictures({title: shading(each) for title, each in shown.items()}), None


def _posterior(diagnosis: Diagnosis, latents: Latents, chart: Chart) -> Posterior:
    """Place the guide's draws and those of HMC on the chart."""
    places = chart.project(latents.values)
    reference, ways = _reference(diagnosis, latents, chart)
    count = max(2, min(MOST_DRAWS, len(places), MOST_NUMBERS // (2 * places.shape[1])))
    centred = places - places.mean(0)
    covariance = np.einsum("snu,snv->nuv", centred, centred) / max(1, len(places) - 1)
    guide = np.moveaxis(places[:count], 0, 1).astype(np.float32)
    return Posterior(guide, places.mean(0), covariance, reference, ways)


def _limit(diagnosis: Diagnosis) -> float:
    numbers = diagnosis.numbers.get("importance")
    return math.nan if numbers is None else float(numbers.attrs["threshold"])


def _reference(
    diagnosis: Diagnosis, latents: Latents, chart: Chart
) -> tuple[dict[int, NDArray[np.float32]], dict[int, str]]:
    """The draws of HMC, and those of the closer look in their place where it was taken, with words for each."""
    draws, ways = _by_hmc(diagnosis, latents, chart)
    closer = diagnosis.closer
    if closer is None:
        return draws, ways
    # A name that ArviZ's draws cannot have is no reason to be without the map.
    names = exported_names(latents.shapes)
    if all(name in closer.draws for name in names.values()):
        parts = [closer.draws[names[site]] for site in latents.shapes]
        flat = np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], -1).astype(np.float64)
        places = np.moveaxis(chart.project(flat), 0, 1).astype(np.float32)
        known = [k for k in range(len(places)) if np.isfinite(places[k]).all()]
        draws |= {int(closer.indices[k]): places[k] for k in known}
        ways |= {int(closer.indices[k]): closer.ways[k] for k in known}
    return draws, ways


def _by_hmc(
    diagnosis: Diagnosis, latents: Latents, chart: Chart
) -> tuple[dict[int, NDArray[np.float32]], dict[int, str]]:
    numbers = diagnosis.numbers.get("reference")
    if numbers is None or not all(site in numbers and numbers[site].dims[0] == "datum" for site in latents.shapes):
        return {}, {}
    parts = [numbers[site].to_numpy() for site in latents.shapes]
    flat = np.concatenate([part.reshape(*part.shape[:3], -1) for part in parts], -1)
    draws = chart.project(flat.reshape(len(flat), -1, flat.shape[-1]))
    # Chains stand one behind the other: equal steps take some of each.
    thinned = draws[:, :: max(1, -(-draws.shape[1] // MOST_REFERENCE))][: len(diagnosis.x)]
    ways = dict(enumerate(map(_of_chains, numbers["rhat"].to_numpy())))
    return {i: each.astype(np.float32) for i, each in enumerate(thinned)}, ways


def _of_chains(rhat: float) -> str:
    settled = f"R-hat {rhat:.2f}"
    if rhat < RHAT:
        return f"by HMC ({settled})"
    return f"by HMC, whose chains have not settled ({settled}): how much each place holds is not known"


def _plane(decoder: Decoder, notes: list[str]) -> Plane | None:
    """Decode a grid over the map."""
    points = decoder.chart.points
    low, high = points.min(0), points.max(0)
    room = np.where(high > low, MARGIN * (high - low), 1.0)
    low, high = low - room, high + room
    side = int(np.clip((GRID_NUMBERS / max(1, decoder.case.x[0].numel())) ** 0.5, LEAST_SIDE, MOST_SIDE))
    across, up = np.meshgrid(np.linspace(low[0], high[0], side), np.linspace(low[1], high[1], side))
    try:
        tiles = decoder(np.column_stack([across.ravel(), up.ravel()]))
    except REFUSALS as error:
        notes.append(f"No point between the data is decoded: {error}.")
        return None
    words = f"Between {side} by {side} points that were decoded, the picture under the pointer is interpolated."
    notes.append(words)
    tiles = tiles.reshape(side, side, *tiles.shape[1:])
    return Plane((float(low[0]), float(low[1])), (float(high[0]), float(high[1])), tiles, words)
