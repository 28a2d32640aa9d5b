"""Blocks of finished data in a folder, so that inference can be killed at any moment and continued.

Every block is one file, written whole or not at all. The folder remembers what was asked for: a checksum of the
data, of the pair's weights and of the settings; another call's folder is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ppl_vae.diagnostics.infer.ladder import Climbed
from ppl_vae.diagnostics.infer.part import Part
from ppl_vae.errors import CheckpointError
from ppl_vae.files import as_path, read_json, read_sealed, require_writable, write_json, write_tensors
from ppl_vae.inference.pair.trace import owner

ASKED = "infer.json"
NUMBERS = ("rung", "khat", "rhat", "ess", "seconds", "gradients")


class StoredBlocks:
    """The blocks in a folder; without one nothing is kept.

    Args:
        folder: made where there is none.
        asked: what they are of, as JSON.

    Raises:
        CheckpointError: the folder cannot be written into, or holds the blocks of another call.
    """

    def __init__(self, folder: str | Path | None, asked: Mapping[str, object]) -> None:
        self.folder = None if folder is None else as_path("folder", folder)
        if self.folder is None:
            return
        require_writable(self.folder)
        path = self.folder / ASKED
        if path.exists():
            other = read_json(path)
            for name, value in asked.items():
                if not isinstance(other, dict) or other.get(name) != value:
                    raise CheckpointError(
                        f"{path}: holds another inference ({name} differs); name another folder, or the same call"
                    )
        elif self.folder.is_dir() and any(self.folder.glob("block-*.safetensors")):
            raise CheckpointError(f"{path}: missing, though there are blocks beside it")
        else:
            write_json(path, asked)

    def get(self, first: int) -> Climbed | None:
        """Read the block whose first datum is ``first``; None where it is not finished.

        Raises:
            CheckpointError: the file is damaged.
        """
        if self.folder is None or not self._path(first).exists():
            return None
        tensors, metadata = read_sealed(self._path(first), "block of draws")
        values = {name.removeprefix("draws/"): each for name, each in tensors.items() if name.startswith("draws/")}
        rung, khat, rhat, ess, seconds, gradients = (tensors[name] for name in NUMBERS)
        return Climbed(values, rung, khat, rhat, ess, seconds, gradients, json.loads(metadata["reason"]))

    def put(self, first: int, block: Climbed) -> None:
        """Keep a finished block."""
        if self.folder is None:
            return
        tensors = dict(block.numbers)
        tensors |= {f"draws/{name}": value for name, value in block.values.items()}
        write_tensors(self._path(first), tensors, {"reason": json.dumps(block.reason)})

    def _path(self, first: int) -> Path:
        assert self.folder is not None
        return self.folder / f"block-{first:08d}.safetensors"


def fingerprint(part: Part) -> dict[str, str]:
    """Checksums of the data and of the weights that the programs hold."""
    modules = [module for module in map(owner, (part.model, part.guide)) if module is not None]
    weights = [tensor for module in modules for tensor in module.state_dict().values()]
    return {"data": _checksum(list(part.data)), "weights": _checksum(weights)}


def _checksum(tensors: list[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
