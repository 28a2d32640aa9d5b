"""A VAE as an estimator of scikit-learn. The names are loaded when they are first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppl_vae.sklearn.probe import linear_probe
    from ppl_vae.sklearn.vae_transformer import VAETransformer

__all__ = ["VAETransformer", "linear_probe"]

_HOMES = {"VAETransformer": "vae_transformer", "linear_probe": "probe"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
