"""Models on disk: config.json says how to build one, weights.safetensors holds its numbers. Never pickle.

The two belong together: the header of the weights repeats the configuration and holds a checksum of both, and
config.json names that checksum. The weights are renamed first, and with them the model is the new one: where
a process was killed before the second rename, config.json still waits under its temporary name and the header's
copy is read. Any other two files are refused. Folders of version 0.1.0 have no checksums and are read as they are.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ppl_vae.containers import CoordinateNames
from ppl_vae.errors import CheckpointError, ModelError
from ppl_vae.files import (
    CHECKSUM,
    checksum,
    json_bytes,
    left_over,
    read_json,
    read_sealed,
    tensor_bytes,
    write_together,
)
from ppl_vae.models.configuration import Config, Plain

CONFIG, WEIGHTS = "config.json", "weights.safetensors"
# In config.json: the checksum of the weights that it was saved with.
OF_WEIGHTS = "weights_sha256"
# In the header of the weights: the configuration, and the names of the training data's coordinates, as JSON.
OF_CONFIG, OF_COORDINATES = "config", "coordinate_names"
PRECISIONS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Stored:
    """The content of a model's folder.

    Attributes:
        folder: where.
        config: what config.json says, without the checksum.
        state: the tensors by name.
        named: the checksum that config.json names; None in a folder of version 0.1.0.
        found: that of the weights.
        saved_config: the header's copy of the configuration.
        coordinate_names: of the data that the model was trained on; empty in folders of version 0.1.0.
    """

    folder: Path
    config: Config
    state: dict[str, Tensor]
    named: Plain
    found: str | None
    saved_config: object
    coordinate_names: CoordinateNames

    def require_one_save(self) -> None:
        """Refuse a configuration and weights that were not written together.

        Raises:
            CheckpointError: their checksums differ, or config.json was changed.
        """
        config, weights = self.folder / CONFIG, self.folder / WEIGHTS
        if self.named != self.found:
            raise CheckpointError(
                f"{weights}: not the weights that {CONFIG} was saved with (its {OF_WEIGHTS} names others): one of "
                "the two was exchanged, or written by another program; put back both files of one save"
            )
        if self.found is None:
            return
        saved = self.saved_config if isinstance(self.saved_config, dict) else {}
        for field in [*self.config, *saved]:
            if self.config.get(field) != saved.get(field):
                raise CheckpointError(
                    f"{config}: changed after the model was saved: {field!r} is {self.config.get(field)!r}, "
                    f"was {saved.get(field)!r}"
                )


def write_model(
    folder: Path, config: Mapping[str, Plain], module: nn.Module, coordinate_names: CoordinateNames
) -> None:
    """Write both files; a part that has no configuration of ours is stored as null and asked for on load.

    Raises:
        ModelError: a weight is not finite, so that the model could not be used again; nothing was written.
        CheckpointError: a file could not be written, or the folder's config.json is of no model; what was there is
            untouched.
    """
    _require_a_models(folder / CONFIG)
    state = module.state_dict()
    broken = not_finite(state, parameter_names(module))
    if broken:
        raise ModelError(f"{folder}: the model was not saved: {broken}; what was there is untouched")
    named = {OF_COORDINATES: json.dumps(coordinate_names)} if coordinate_names else {}
    content = tensor_bytes(state, {OF_CONFIG: json.dumps(config), **named})
    described = {**config, OF_WEIGHTS: checksum(content)}
    write_together({folder / WEIGHTS: content, folder / CONFIG: json_bytes(described)})


def _require_a_models(path: Path) -> None:
    """Refuse to write over a config.json of somebody else's."""
    try:
        config = read_json(path)
    except CheckpointError:
        # None is there, or a damaged one, which another takes the place of.
        return
    if not isinstance(config, dict) or "model" not in config:
        raise CheckpointError(f"{path}: of no model of ours; nothing was touched. Choose another folder")


def read_model(folder: Path) -> Stored:
    """Read the files of ``write_model``; each is judged by itself.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    config = read_config(folder)
    state, metadata = read_sealed(folder / WEIGHTS)
    checksum = metadata.get(CHECKSUM)
    try:
        saved = json.loads(metadata.get(OF_CONFIG, "null"))
        coordinate_names = _names_by_argument(json.loads(metadata.get(OF_COORDINATES, "{}")))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / WEIGHTS}: its header holds no configuration ({error})") from error
    if checksum is not None and config.get(OF_WEIGHTS) != checksum and _killed_while_saving(folder, checksum):
        config = {**saved, OF_WEIGHTS: checksum}
    named = config.pop(OF_WEIGHTS, None)
    return Stored(folder, config, state, named, checksum, saved, coordinate_names)


def _names_by_argument(found: object) -> CoordinateNames:
    """Coordinate names as they are stored.

    Raises:
        ValueError: they are something else.
    """
    if not isinstance(found, dict):
        raise ValueError("its coordinate names are no object")
    return {str(name): _names_by_axis(axes) for name, axes in found.items()}


def _names_by_axis(axes: object) -> list[list[str] | None]:
    if not isinstance(axes, list) or not all(axis is None or isinstance(axis, list) for axis in axes):
        raise ValueError("its coordinate names are no lists")
    return [None if axis is None else [str(each) for each in axis] for axis in axes]


def read_config(folder: Path) -> Config:
    """The configuration of a stored model.

    Raises:
        CheckpointError: it is missing or no JSON object with a "model" field.
    """
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or "model" not in config:
        raise CheckpointError(f"{folder / CONFIG}: not the configuration of a model (no field 'model')")
    return config


def _killed_while_saving(folder: Path, found: str) -> bool:
    """Tell whether the configuration of these weights still waits for its rename."""
    for waiting, _ in left_over(folder / CONFIG):
        try:
            config = read_json(waiting)
        except CheckpointError:
            continue
        if isinstance(config, dict) and config.get(OF_WEIGHTS) == found:
            return True
    return False


def parameter_names(module: nn.Module) -> set[str]:
    """The names that parameters have in the state of a module, also where two share one."""
    return {name for name, _ in module.named_parameters(remove_duplicate=False)}


def not_finite(state: Mapping[str, Tensor], parameters: Container[str]) -> str:
    """The first tensor that no model can be used with, in words; empty where there is none.

    A buffer may hold infinities, as masks and bounds do; a parameter may not.
    """
    for name, tensor in state.items():
        if not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        broken = ~tensor.isfinite() if name in parameters else tensor.isnan()
        if broken.any():
            return f"{name!r} has {int(broken.sum())} of {tensor.numel()} numbers that are not finite"
    return ""


def require_architecture(own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that are not those of a module with the state ``own``, by name and shape.

    Raises:
        ModelError: the first difference is named.
    """
    for name in [*own, *state]:
        if name not in state or name not in own:
            side = "the file lacks" if name not in state else "the model has no"
            raise ModelError(f"{path}: weights of another architecture: {side} {name!r}")
        if own[name].shape != state[name].shape:
            raise ModelError(
                f"{path}: weights of another architecture: {name!r} has shape {list(state[name].shape)}, "
                f"the model's has {list(own[name].shape)}"
            )


def restore(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy stored tensors into a module of the same architecture, in their precision; all of them or none.

    Raises:
        ModelError: names or shapes differ; the first difference is named and nothing was copied.
        CheckpointError: numbers are of another type, or not finite.
    """
    own = module.state_dict()
    require_architecture(own, state, path)
    precision = _precision(own, state, path)
    broken = not_finite(state, parameter_names(module))
    if broken:
        raise CheckpointError(f"{path}: {broken}, so this model would give no finite number")
    if precision is not None:
        module.to(dtype=precision)
    module.load_state_dict(dict(state))


def _precision(own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> torch.dtype | None:
    """The one precision that all floating tensors must be turned to; None where nothing differs."""
    differing = [name for name, tensor in state.items() if tensor.dtype != own[name].dtype]
    if not differing:
        return None
    floating = {name for name, tensor in own.items() if tensor.is_floating_point()}
    target = state[differing[0]].dtype
    for name, tensor in state.items():
        expected = target if name in floating and target in PRECISIONS else own[name].dtype
        if tensor.dtype != expected:
            kinds = (str(kind).removeprefix("torch.") for kind in (tensor.dtype, expected))
            raise CheckpointError("{}: {!r} holds numbers of type {}, expected {}".format(path, name, *kinds))
    return target
