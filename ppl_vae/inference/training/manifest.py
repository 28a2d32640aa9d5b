"""The manifest of a run: enough to say which numbers it gives, and to tell it from another run."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata

import torch

from ppl_vae.data import Dataset, fingerprint
from ppl_vae.errors import CheckpointError, ModelError
from ppl_vae.files import JsonObject
from ppl_vae.inference.objectives.schedules import describe
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.pair import Pair
from ppl_vae.inference.pair.protocols import Configured
from ppl_vae.inference.training.batches import TrainingData


def describe_data(data: object, found: TrainingData) -> dict[str, object]:
    """Describe the data behind the numbers: name, binarisation, sizes and checksums."""
    described: dict[str, object] = {"validation": found.validation_name}
    if isinstance(data, Dataset):
        described |= {"name": data.name, "binarization": data.binarization, "source": data.source}
        described |= {"notes": list(data.notes)}
    kinds = ("", *(f"{name}_" for name in found.names))
    for split, part in (("train", found.train), ("validation", found.validation), ("test", found.test)):
        for tensor, of in zip(_in_one_piece(part), kinds, strict=False):
            described |= {f"{split}_size": len(tensor), f"{split}_{of}sha256": fingerprint(tensor)}
    return described


def _in_one_piece(part: Batch | Iterable[object] | None) -> Batch:
    """The data of a split; none where they come in batches, which only passing tells."""
    return part if isinstance(part, tuple) else ()


def describe_pair(pair: Pair) -> object:
    """Describe a pair by its own configuration, else by the names and modules of its programs, no addresses."""
    if isinstance(pair.source, Configured) and isinstance(pair.source.config, dict):
        return pair.source.config
    return {"model": describe(pair.model), "guide": describe(pair.guide)}


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that computed."""
    packages = ("ppl_vae", "torch", "pyro-ppl", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def describe_device(device: torch.device) -> str:
    """The device and its name."""
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else f"cpu: {platform.machine()}"


def require_same_run(stored: JsonObject, own: JsonObject, where: object) -> None:
    """Refuse to continue a checkpoint that belongs to another run.

    Raises:
        CheckpointError: a field differs; it is named.
    """
    for field, was, is_now in _differences(identity(stored), identity(own)):
        raise CheckpointError(f"{where}: the checkpoint is of another run: {field} was {was!r}, is now {is_now!r}")


def require_same_everywhere(said: Sequence[str]) -> None:
    """Refuse ranks that would not train the same thing; each says the ``identity`` of its manifest as JSON.

    Raises:
        ModelError: a field differs; it is named.
    """
    first, *others = map(json.loads, said)
    for rank, other in enumerate(others, start=1):
        for field, theirs, own in _differences(first, other):
            raise ModelError(
                f"the ranks train different things: {field} is {theirs!r} on rank 0, {own!r} on {rank}"
            )


def _differences(before: JsonObject, now: JsonObject) -> Iterator[tuple[str, object, object]]:
    _leave_out_the_untold(before, now)
    # The data first: another split of them is another size of batch as well.
    for field in sorted({*before, *now}, key=lambda name: (name != "data", name)):
        if before.get(field) != now.get(field):
            yield field, *_differing(before.get(field), now.get(field))


def _differing(before: object, now: object) -> tuple[object, object]:
    """The entries that differ, of two dicts; anything else as it is."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return before, now
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return {n: before[n] for n in names if n in before}, {n: now[n] for n in names if n in now}


def _leave_out_the_untold(before: JsonObject, now: JsonObject) -> None:
    """Drop fields about the user's own batches that only one manifest has: earlier ones said less, or a default."""
    if "train_size" not in now["data"]:
        before.pop("batch_size", None), now.pop("batch_size", None)
    checksums = [data.get("first_batch_sha256") for data in (before["data"], now["data"])]
    if None in checksums:
        before["data"].pop("first_batch_sha256", None), now["data"].pop("first_batch_sha256", None)


def identity(manifest: JsonObject) -> JsonObject:
    """The fields that decide the numbers; a run may be continued for longer, and on another device."""
    settings = {k: v for k, v in manifest["settings"].items() if k not in ("epochs", "patience")}
    # Where the files lie, and what they are called, may change; their checksums may not.
    data = {k: v for k, v in manifest["data"].items() if k not in ("source", "name", "notes")}
    # Through JSON, as the stored one went, so that tuples and lists compare alike.
    parts = {"model": manifest["model"], "data": data, "seed": manifest["seed"], **settings}
    parts["precision"] = manifest.get("precision", "float32")
    return json.loads(json.dumps(parts))
