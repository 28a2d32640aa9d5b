"""A model on disk: config.json says how to build it, weights.safetensors holds its numbers. Never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ppl_vae.errors import CheckpointError, ModelError
from ppl_vae.files import json_bytes, read_json, tensor_bytes, write_together

CONFIG, WEIGHTS = "config.json", "weights.safetensors"


def write_model(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write both files; a part that has no configuration of ours is stored as null and asked for on load.

    Raises:
        CheckpointError: a file could not be written; both that were there are untouched.
    """
    write_together({folder / WEIGHTS: tensor_bytes(state), folder / CONFIG: json_bytes(dict(config))})


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a stored model.

    Raises:
        CheckpointError: it is missing or no JSON object with a "model" field.
    """
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or "model" not in config:
        raise CheckpointError(f"{folder / CONFIG}: not the configuration of a model (no field 'model')")
    return config


def restore(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy stored tensors into a module of the same architecture; all of them or none.

    Raises:
        ModelError: names or shapes differ; the first difference is named and nothing was copied.
    """
    own = module.state_dict()
    for name in [*own, *state]:
        if name not in state or name not in own:
            side = "the file lacks" if name not in state else "the model has no"
            raise ModelError(f"{path}: weights of another architecture: {side} {name!r}")
        if own[name].shape != state[name].shape:
            raise ModelError(
                f"{path}: weights of another architecture: {name!r} has shape {list(state[name].shape)}, "
                f"the model's has {list(own[name].shape)}"
            )
    module.load_state_dict(dict(state))
