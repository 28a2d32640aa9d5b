"""The data sets by name, and the door through which every data set comes in."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ppl_vae.containers.table_file import TABLES
from ppl_vae.data.annotated_file import load_annotated
from ppl_vae.data.arrays import load_idx, load_npy, load_npz
from ppl_vae.data.binarization import binarized, check_policy
from ppl_vae.data.boundary import parser_boundary
from ppl_vae.data.celeba import load_celeba
from ppl_vae.data.dataset import Binarization, Dataset
from ppl_vae.data.digits import load_digits
from ppl_vae.data.dsprites import load_dsprites
from ppl_vae.data.faces import load_faces
from ppl_vae.data.image_folder import load_image_folder
from ppl_vae.data.image_spectra import load_image_spectra
from ppl_vae.data.mnist import load_fashion_mnist, load_mnist
from ppl_vae.data.piano_rolls import load_piano_rolls
from ppl_vae.data.small_images import load_small_images
from ppl_vae.data.sprites import load_sprites
from ppl_vae.data.table import load_table
from ppl_vae.errors import DataError, unknown_name

_LOADERS: dict[str, Callable[..., Dataset]] = {
    "celeba": load_celeba,
    "digits": load_digits,
    "dsprites": load_dsprites,
    "faces": load_faces,
    "fashion-mnist": load_fashion_mnist,
    "four-small-images": load_small_images,
    "image-spectra": load_image_spectra,
    "mnist": load_mnist,
    "piano-rolls": load_piano_rolls,
    "sprites": load_sprites,
}

# What they are, and where they come from.
DATASETS: Mapping[str, tuple[str, str]] = {
    "celeba": ("colour photographs of faces, 40 attributes", "your folder"),
    "digits": ("handwritten digits, grey 8x8", "embedded"),
    "dsprites": ("the original dSprites, binary 64x64, 6 factors", "your .npz"),
    "faces": ("cartoon faces, colour 64x64, attributes and pose", "rendered"),
    "fashion-mnist": ("articles of clothing, grey 28x28", "your folder, cache or download"),
    "four-small-images": ("four binary pictures, 3x3", "embedded"),
    "image-spectra": ("spectra of 24 channels, each with the image 12x12 where it was measured", "rendered"),
    "mnist": ("handwritten digits, grey 28x28", "your folder, cache or download"),
    "piano-rolls": ("polyphonic sequences, binary 16x36, from a theory of harmony", "rendered"),
    "sprites": ("shapes with known factors, binary 64x64", "rendered"),
}

_FILE_LOADERS: dict[str, Callable[..., Dataset]] = {
    ".npz": load_npz,
    ".npy": load_npy,
    ".idx": load_idx,
    ".idx.gz": load_idx,
    "ubyte": load_idx,
    "ubyte.gz": load_idx,
    **dict.fromkeys(TABLES, load_table),
    ".h5ad": load_annotated,
}


def list_datasets() -> list[str]:
    """The names that `load_dataset` knows.

    >>> "digits" in list_datasets()
    True
    """
    return sorted(_LOADERS)


def load_dataset(
    name: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    binarize: Binarization = "none",
    seed: int = 0,
    **options: object,
) -> Dataset:
    """Load a data set by name, or from a file or folder.

    Args:
        name: one of `list_datasets`, or a path: .npz, .npy, IDX (.idx, -ubyte, gzipped or not), a table (.csv,
            .tsv, .parquet), cells by genes (.h5ad), or a folder of images. A file without a test set of its own
            is split 90/10 under a fixed seed.
        root: the folder of the files of a named data set, where it has files.
        binarize: "none"; "threshold" (1 where x >= 0.5); "stochastic" (Bernoulli draws, once); or "dynamic"
            (``train.x`` stays grey, to be drawn anew in every batch; ``test.x`` is drawn once).
        seed: the seed of a rendered data set's draws, and of the binarisation's. No split depends on it.
        **options: the loader's own, such as ``size`` and ``limit`` of images, ``value_range`` of arrays,
            ``labels``, ``covariates``, ``drop``, ``test`` and ``levels`` of tables (.h5ad: ``labels``,
            ``covariates`` and ``levels``, of columns of obs), ``n`` of rendered data sets.

    Raises:
        DataError: an unknown name or option, a missing or damaged file, values outside [0, 1].

    >>> digits = load_dataset("digits", binarize="dynamic")
    >>> len(digits.train), len(digits.test), digits.event_shape
    (1617, 180, (1, 8, 8))
    """
    check_policy(binarize)
    loader = _loader(name)
    accepted = inspect.signature(loader).parameters
    given = options if root is None else {**options, "root": root}
    for option in given:
        if option not in accepted:
            known = unknown_name("option", option, accepted) if accepted else f"it takes no option {option!r}"
            raise DataError(f"data set {os.fspath(name)!r}: {known}")
    if "seed" in accepted:
        given = {**given, "seed": seed}
    return binarized(loader(**given), binarize, seed)


def _loader(name: str | os.PathLike[str]) -> Callable[..., Dataset]:
    if isinstance(name, str) and name in _LOADERS:
        return _LOADERS[name]
    if not isinstance(name, str | os.PathLike):
        raise DataError(
            f"a data set is loaded by its name or a path, got {type(name).__name__}; fit takes arrays as they are"
        )
    path = Path(os.path.expanduser(name))  # noqa: PTH111  (an unknown user's ~ stays as it is)
    with parser_boundary(path, "a file or a folder of images"):
        if path.is_dir():
            return functools.partial(load_image_folder, path)
        is_file = path.is_file()
    for ending, loader in _FILE_LOADERS.items():
        if path.name.lower().endswith(ending):
            return functools.partial(loader, path)
    if is_file:
        raise DataError(f"{path}: expected a folder of images or a file ending in {', '.join(_FILE_LOADERS)}")
    if path.suffix or len(path.parts) > 1 or isinstance(name, os.PathLike):
        raise DataError(f"{path}: expected a file or a folder of images, found nothing there")
    raise DataError(unknown_name("data set", name, _LOADERS))
