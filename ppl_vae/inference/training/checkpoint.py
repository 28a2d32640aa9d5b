"""The state of a run as one safetensors file: tensors as tensors, everything else as JSON in its header.

One file is replaced whole or not at all, so a run killed at any moment finds a consistent state, and
nothing in it is ever unpickled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppl_vae.errors import CheckpointError
from ppl_vae.files import CHECKSUM, JsonObject, read_sealed, write_tensors

TREE = "tree"
_TENSOR, _PAIRS = "__tensor__", "__pairs__"


def write_checkpoint(path: Path, state: object) -> None:
    """Write a tree of dicts, lists, tensors and plain values.

    Raises:
        CheckpointError: the file could not be written; the one that was there is untouched.
    """
    tensors: dict[str, Tensor] = {}
    tree = _take_apart(state, "state", tensors)
    write_tensors(path, tensors, {TREE: json.dumps(tree)})


def read_checkpoint(path: Path) -> JsonObject:
    """The tree that was written.

    Raises:
        CheckpointError: the file is damaged, or no checkpoint of ours.
    """
    tensors, metadata = read_sealed(path, "checkpoint")
    if not {TREE} <= metadata.keys() <= {TREE, CHECKSUM}:
        raise CheckpointError(f"{path}: not a readable checkpoint (its header has another format)")
    try:
        return _put_together(json.loads(metadata[TREE]), tensors)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from error


def _take_apart(node: object, name: str, tensors: dict[str, Tensor]) -> object:
    """Replace every tensor by a reference to its name; keys of dicts need not be strings."""
    if isinstance(node, Tensor):
        # Numbered, because {"a": {"b.c": ...}} and {"a.b": {"c": ...}} have the same path.
        name = f"{len(tensors)}:{name}"
        tensors[name] = node
        return {_TENSOR: name}
    if isinstance(node, dict):
        return {_PAIRS: [[key, _take_apart(value, f"{name}.{key}", tensors)] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        return [_take_apart(value, f"{name}.{i}", tensors) for i, value in enumerate(node)]
    return node


def _put_together(node: object, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, dict) and _TENSOR in node:
        return tensors[node[_TENSOR]]
    if isinstance(node, dict):
        return {key: _put_together(value, tensors) for key, value in node[_PAIRS]}
    if isinstance(node, list):
        return [_put_together(value, tensors) for value in node]
    return node


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of the generators that training draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Continue the generators where they were."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
