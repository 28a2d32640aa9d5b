"""The facts of a run for a report, read from its configuration, its data and its manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from ppl_vae.data import Dataset, fingerprint
from ppl_vae.diagnostics.report import Subject
from ppl_vae.display import in_words, spaced
from ppl_vae.errors import CheckpointError
from ppl_vae.files import read_json
from ppl_vae.inference.training.manifest import versions
from ppl_vae.inference.training.run_files import MANIFEST
from ppl_vae.models import VAE, ProgramPair

Rows = list[tuple[str, str]]
NO_DENSITY = (
    "The likelihood of this model is no density: its value is a reconstruction score, the ELBO is no bound on "
    "log p(x), and no figure below that is in nats can be compared with another model's."
)


def describe(
    folder: Path, vae: VAE, dataset: Dataset, split: str, quick: bool, seed: int, topics: Sequence[str] = ()
) -> Subject:
    """Describe the subject of a report.

    Raises:
        CheckpointError: the run's manifest is damaged.
    """
    manifest = read_manifest(folder)
    facts = {
        "Model": _model(vae),
        "Data": _data(dataset, split),
        "Training": _training(manifest, dataset),
        "Versions": list(versions().items()),
    }
    given = {" --split train": split == "train", " --quick": quick, f" --seed {seed}": seed}
    options = "".join(option for option, used in given.items() if used)
    options += "".join(f" --topic {quote(topic)}" for topic in topics)
    return Subject(
        name=folder.resolve().name,
        model=f"{vae.config.get('model', 'model')} with {_latent(vae)}likelihood {vae.model.likelihood.name}",
        data=f"{dataset.name}, {split} split",
        facts={heading: rows for heading, rows in facts.items() if rows},
        warning="" if vae.model.likelihood.is_density else NO_DENSITY,
        command=f"ppl-vae diagnose {quote(folder.resolve().name)} --data {quote(dataset.name)}{options}",
    )


def _latent(vae: ProgramPair) -> str:
    """Describe the latent of a model where it is one vector; other models are described by their name."""
    dim = vae.latent_dim
    return "" if dim is None else f"{dim} latent dimensions and "


def read_manifest(folder: Path) -> Mapping[str, object]:
    """The manifest of a run; nothing where there is none.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / MANIFEST
    if not path.exists():
        return {}
    manifest = read_json(path)
    parts = [manifest.get(name, {}) for name in ("data", "settings")] if isinstance(manifest, dict) else [None]
    if not all(isinstance(part, dict) for part in parts):
        raise CheckpointError(f"{path}: not the manifest of a run")
    return manifest


def _model(vae: VAE) -> Rows:
    parts = {name: in_words(value) for name, value in vae.config.items() if name != "model"}
    own = {name: value or "the user's own" for name, value in parts.items()}
    return [("name", str(vae.config.get("model", type(vae).__name__))), *((spaced(k), v) for k, v in own.items())]


def _data(dataset: Dataset, split: str) -> Rows:
    half = dataset.test if split == "test" else dataset.train
    rows = [
        ("name", dataset.name),
        ("source", dataset.source),
        ("split", f"{split}, {len(half):,} data of shape {' x '.join(map(str, dataset.event_shape))}"),
        ("binarisation", dataset.binarization),
        ("SHA-256", fingerprint(half.x)),
    ]
    return [*rows, *(("note", note) for note in dataset.notes)]


def _training(manifest: Mapping[str, Any], dataset: Dataset) -> Rows:
    if not manifest:
        return []
    data, settings = manifest.get("data", {}), manifest.get("settings", {})
    rows = [(spaced(name), in_words(value)) for name, value in settings.items() if value is not None]
    rows += [("epochs run", in_words(manifest.get("epochs_run"))), ("seed", in_words(manifest.get("seed")))]
    rows += [("chosen by validation on", in_words(data.get("validation")))]
    rows += [("device", in_words(manifest.get("device"))), ("graph", in_words(manifest.get("compile")))]
    if data.get("name", dataset.name) != dataset.name:
        rows.insert(0, ("trained on", in_words(data["name"])))
    return rows
