"""The judgement of a stored run as a whole, before anything of the present one is changed.

A checkpoint's checksum tells damage; one without, of version 0.1.0 or of another program, may hold anything.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ppl_vae.errors import CheckpointError, first_line
from ppl_vae.files import JsonObject
from ppl_vae.inference.training.checkpoint import read_checkpoint
from ppl_vae.inference.training.compute import MOST_THREADS
from ppl_vae.inference.training.weights import Weights

MODES = ("eager", "traced", "compiled")
NUMBER = (int, float)
Kind: TypeAlias = type | tuple[type, ...]
# What these keep of a parameter, beside counts of steps, has the parameter's shape.
ELEMENTWISE = (
    torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adamax,
    torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.Adadelta, torch.optim.Rprop,
)  # fmt: skip


def read_run(path: Path) -> JsonObject:
    """State and manifest of a checkpoint, with every field that continuing needs.

    Raises:
        CheckpointError: it is damaged, or no checkpoint of a run; the field is named.
    """
    stored = read_checkpoint(path)
    try:
        _require_run(stored)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: not the checkpoint of a run: {error}") from None
    return stored


def _require_run(stored: object) -> None:
    state, manifest = (_field(stored, name, dict) for name in ("state", "manifest"))
    for name in ("settings", "data"):
        if not all(isinstance(key, str) for key in _field(manifest, name, dict)):
            raise CheckpointError(f"a name in {name!r} is not text")
    try:
        json.dumps(manifest)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the manifest is not JSON ({first_line(error)})") from None
    _field(manifest, "model", object)
    _field(manifest, "seed", int)
    if not 1 <= _field(manifest, "num_threads", int) <= MOST_THREADS or manifest.get("compile") not in MODES:
        raise CheckpointError(
            f"num_threads {manifest['num_threads']!r} or compile {manifest.get('compile')!r} is not possible"
        )
    epoch, step, rows = _field(state, "epoch", int), _field(state, "step", int), _field(state, "rows", list)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or row.get("epoch") != number or not _all(row, NUMBER):
            raise CheckpointError(f"row {number} of the history is not that of epoch {number}")
    if len(rows) != epoch or step != (rows[-1].get("step") if rows else 0):
        raise CheckpointError(f"epoch {epoch} and step {step} are not where its history of {len(rows)} epochs ends")
    for name in ("weights", "random"):
        if not _all(_field(state, name, dict), Tensor):
            raise CheckpointError(f"{name!r} holds something that is not a tensor")
    best = _field(state, "selection", dict)
    _field(best, "score", NUMBER)
    if not 0 <= _field(best, "epoch", int) <= epoch or not _all(_field(best, "weights", dict), Tensor):
        raise CheckpointError("'selection' has no epoch or weights of this run")
    _field(state, "optimizer", dict)


def _field(tree: object, name: str, kind: Kind) -> Any:
    value = tree.get(name) if isinstance(tree, dict) else None
    if value is None or not isinstance(value, kind) or (isinstance(value, bool) and kind is not object):
        raise CheckpointError(f"field {name!r} is missing or of another type")
    return value


def _all(tree: Mapping[object, object], kind: Kind) -> bool:
    return all(isinstance(key, str) and isinstance(value, kind) for key, value in tree.items())


def require_state(
    tree: JsonObject, weights: Weights, optimizer: torch.optim.Optimizer, device: torch.device
) -> None:
    """Refuse a stored state that a run cannot go on from; nothing is changed.

    Raises:
        ModelError: it is the state of another pair; the first difference is named.
        CheckpointError: a number is not finite or of another type, or a state of optimiser or generator is bad.
    """
    for state in filter(None, (tree["weights"], tree["selection"]["weights"])):
        weights.require_fit(state)
        _require_numbers(weights, state)
    _require_generators(tree["random"], device)
    try:
        # On a copy, since an optimiser takes what it can before it complains.
        trial = copy.deepcopy(optimizer)
        trial.load_state_dict(copy.deepcopy(tree["optimizer"]))
    except Exception as error:
        raise CheckpointError(f"the checkpoint's optimiser is another or damaged ({first_line(error)})") from error
    for kept in trial.state.values():
        _items(kept)
    if isinstance(optimizer, ELEMENTWISE):
        _require_shapes(trial)
    for own, stored in zip(optimizer.param_groups, trial.param_groups, strict=True):
        for name in own:
            if _kind(own[name]) != _kind(stored.get(name)):
                raise CheckpointError(f"the checkpoint's optimiser has the option {name!r} of another type")


def _kind(option: object) -> object:
    """The kind of a value as JSON tells kinds apart: a list is a tuple of kinds, an integer is a number."""
    if isinstance(option, list | tuple):
        return [_kind(element) for element in option]
    return float if isinstance(option, NUMBER) and not isinstance(option, bool) else type(option)


def _require_numbers(weights: Weights, state: Mapping[str, Tensor]) -> None:
    trained = {id(parameter) for parameter in weights.parameters()}
    for name, own in weights.tensors().items():
        stored = state[name]
        if stored.dtype != own.dtype:
            raise CheckpointError(
                f"the checkpoint's {name!r} holds numbers of type {stored.dtype}, not {own.dtype}"
            )
        if (~stored.isfinite() if id(own) in trained else stored.isnan()).any():
            raise CheckpointError(f"the checkpoint's {name!r} has numbers that are not finite")


def _require_generators(random: Mapping[str, Tensor], device: torch.device) -> None:
    try:
        torch.Generator().set_state(random["cpu"])
        if device.type == "cuda" and "cuda" in random:
            torch.Generator(device).set_state(random["cuda"])
    except (KeyError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"the checkpoint's random state is invalid ({first_line(error)})") from error


def _require_shapes(optimizer: torch.optim.Optimizer) -> None:
    for leaf, kept in optimizer.state.items():
        for name, value in _items(kept):
            if (
                isinstance(value, Tensor)
                and (value.dim() or name != "step")
                and value.shape not in (leaf.shape, ())
            ):
                raise CheckpointError(
                    f"the checkpoint's optimiser keeps {name!r} of shape {list(value.shape)} "
                    f"for a parameter of shape {list(leaf.shape)}"
                )
            if name == "step" and not math.isfinite(float(value)):
                raise CheckpointError("the checkpoint's optimiser has taken no finite number of steps")


def _items(kept: object) -> Iterable[tuple[str, Any]]:
    if not isinstance(kept, dict) or not all(isinstance(name, str) and name.isidentifier() for name in kept):
        raise CheckpointError("the checkpoint's optimiser has no state to continue from")
    return kept.items()
