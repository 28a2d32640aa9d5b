"""The random state that a user's own batches carry: kept in the checkpoint and continued by a resumed run.

PyTorch's notes on reproducibility advise a DataLoader with a generator of its own; NumPy's and Python's generators
augment data. All that hang on the batches' attributes are found. State in a generator function or in a worker
process cannot be seen; that is told from two passes under the same states that begin with other batches.
"""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ppl_vae.data import fingerprint
from ppl_vae.declared import instance_attributes
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.training.batches import TrainingData
from ppl_vae.randomness import derived_seed, seeded

KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
Generator: TypeAlias = torch.Generator | np.random.Generator | np.random.RandomState | random.Random
# What has no generator of its own in it.
LEAVES = (Tensor, np.ndarray, str, bytes, int, float, dict, type, ModuleType, FunctionType)
DEPTH, ELEMENTS, FIRST_BATCH_STREAM = 4, 32, 17


def loader_generators(batches: object) -> dict[str, Generator]:
    """The generators that hang on a user's batches, by the path of attributes that leads to them."""
    found: dict[str, Generator] = {}
    seen: set[int] = set()

    def look(thing: object, path: str, depth: int) -> None:
        if id(thing) in seen or depth > DEPTH or isinstance(thing, LEAVES):
            return
        seen.add(id(thing))
        if isinstance(thing, KINDS):
            found[path] = thing
        elif isinstance(thing, list | tuple):
            # Of transforms; a list of batches has none, and may be long.
            for index, element in enumerate(thing[:ELEMENTS]):
                look(element, f"{path}[{index}]", depth + 1)
        else:
            for name, value in instance_attributes(thing).items():
                look(value, f"{path}.{name}", depth + 1)

    if batches is not None:
        look(batches, type(batches).__name__, 0)
    return found


def loader_state(generators: Mapping[str, Generator]) -> dict[str, object]:
    """The states of the generators, as plain values and tensors."""
    return {path: _state(generator) for path, generator in generators.items()}


def restore_loader_state(generators: Mapping[str, Generator], states: Mapping[str, Any] | None) -> None:
    """Continue the generators where they were; a warning says which cannot be."""
    states = states or {}
    for path, generator in generators.items():
        if path in states:
            _restore(generator, states[path])
        else:
            warnings.warn(
                f"the checkpoint has no state of {path}: the batches go on in another order than they would have",
                stacklevel=5,
            )


def first_batch(data: TrainingData, seed: int, device: torch.device) -> tuple[Batch, str | None]:
    """The first of the user's own batches, and SHA-256 over it, whatever state their generators are in.

    No checksum where two passes under the same states begin differently, because something random cannot be seen.
    """
    generators = loader_generators(data.batches)
    with kept_states(generators):
        found = []
        for _ in range(2):
            for generator in generators.values():
                _reseed(generator, derived_seed(seed, FIRST_BATCH_STREAM))
            # A loader may draw its order from the global stream.
            with seeded(seed, device):
                found.append(data.example())
    first, second = map(_checksum, found)
    return found[0], first if first == second else None


@contextlib.contextmanager
def kept_states(generators: Mapping[str, Generator]) -> Iterator[None]:
    """Leave the generators as they were found."""
    states = {path: _state(generator) for path, generator in generators.items()}
    try:
        yield
    finally:
        for path, generator in generators.items():
            _restore(generator, states[path])


def _checksum(batch: Batch) -> str:
    return "-".join(fingerprint(part) for part in batch)


def _state(generator: Generator) -> object:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return _plain(generator.bit_generator.state)
    if isinstance(generator, np.random.RandomState):
        return _plain(generator.get_state(legacy=False))
    return _plain(generator.getstate())


def _restore(generator: Generator, state: Any) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = _numpy(state, generator.bit_generator.state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(_numpy(state, generator.get_state(legacy=False)))
    else:
        version, numbers, gauss = state
        generator.setstate((version, tuple(numbers), gauss))


def _reseed(generator: Generator, seed: int) -> None:
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = type(generator.bit_generator)(seed).state
    else:
        generator.seed(seed % (1 << 32))


def _plain(node: object) -> object:
    """Turn arrays into lists, which JSON takes."""
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, tuple):
        return [_plain(value) for value in node]
    return node.tolist() if isinstance(node, np.ndarray | np.generic) else node


def _numpy(node: Any, like: object) -> Any:
    """Turn the lists of ``_plain`` back into arrays."""
    if isinstance(like, Mapping):
        return {key: _numpy(node[key], value) for key, value in like.items()}
    return np.asarray(node, dtype=like.dtype) if isinstance(like, np.ndarray) else node
