"""The names of arrays in an .npz archive: they tell data from labels, factors and the rest, and their split.

x, y, factors, lengths, mask                  one data set; or a single array of any name
covariate_age, ...                            beside x, what a conditional model takes under the name after the bar
x_train, y_train, ..., x_test, y_test, ...    two splits
train_images, val_images, test_images         MedMNIST's (Yang et al. 2023), with train_labels and so on; what is
                                              for validation is in train
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppl_vae.data.npz import read_npz
from ppl_vae.data.sequences import observed
from ppl_vae.data.tensors import Arrays
from ppl_vae.errors import DataError

_ROLES = ("x", "y", "factors", "lengths", "mask")
COVARIATE = "covariate_"
_MEDICAL = ("train", "val", "test")


def read_parts(path: Path, names: list[str]) -> tuple[list[Arrays], tuple[str, ...]]:
    """The arrays of one split, or of train and test; and what a reader must know of the choice.

    Raises:
        DataError: none of the layouts above, or arrays that do not fit each other.
    """
    found = set(names)
    if {"x_train", "x_test"} <= found:
        layout = [_roles(found, "_train"), _roles(found, "_test")]
    elif "x" in found:
        layout = [_roles(found, "")]
    elif {f"{split}_images" for split in ("train", "test")} <= found:
        return _medical(path, found)
    elif len(names) == 1:
        layout = [{"x": names[0]}]
    else:
        shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise DataError(
            f"{path}: expected arrays named x, or x_train and x_test, or train_images and test_images, or a single "
            f"array, found {shown or 'nothing'}"
        )
    members = read_npz(path, [name for part in layout for name in part.values()])
    parts = [_arrays({role: members[name] for role, name in part.items()}, path) for part in layout]
    return parts, _unused(found - set(members))


def _roles(found: set[str], ending: str) -> dict[str, str]:
    named = (name for name in found if name.startswith(COVARIATE) and name.endswith(ending))
    covariates = {name.removesuffix(ending): name for name in sorted(named)}
    return {role: role + ending for role in _ROLES if role + ending in found} | covariates


def _arrays(given: dict[str, np.ndarray], path: Path) -> Arrays:
    given["x"], missing = observed(given["x"], given.pop("lengths", None), given.pop("mask", None), path)
    beside = {name: given.pop(name) for name in list(given) if name.startswith(COVARIATE)}
    covariates = {name.removeprefix(COVARIATE): c for name, c in beside.items()}
    return Arrays(**given, missing=missing, covariates=covariates)


def _medical(path: Path, found: set[str]) -> tuple[list[Arrays], tuple[str, ...]]:
    splits = [split for split in _MEDICAL if f"{split}_images" in found]
    labelled = all(f"{split}_labels" in found for split in splits)
    wanted = [f"{split}_{kind}" for split in splits for kind in ("images", *(["labels"] if labelled else []))]
    members = read_npz(path, wanted)
    notes = _unused(found - set(wanted))
    parts = []
    for own in (splits[:-1], splits[-1:]):
        x = _stacked([members[f"{split}_images"] for split in own], path)
        y = _stacked([members[f"{split}_labels"] for split in own], path) if labelled else None
        several = y is not None and y.ndim == 2 and y.shape[1] > 1
        parts.append(Arrays(x, factors=y) if several else Arrays(x, y))
    if "val" in splits:
        notes = ("the validation images are in train", *notes)
    if labelled and parts[0].factors is not None:
        notes = ("several labels per datum: they are the factors", *notes)
    return parts, notes


def _stacked(parts: list[np.ndarray], path: Path) -> np.ndarray:
    if len({part.shape[1:] for part in parts}) > 1:
        shapes = " and ".join(str(part.shape) for part in parts)
        raise DataError(f"{path}: expected train and val of one shape, found {shapes}")
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _unused(names: set[str]) -> tuple[str, ...]:
    if not names:
        return ()
    shown = sorted(names)
    rest = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
    return (f"not used: {', '.join(shown[:10])}{rest}",)
