"""The specification of a part of a model (prior, likelihood, posterior): a string, a configuration, or itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ppl_vae.errors import ModelError, unknown_name


def from_spec(kind: str, spec: Any, table: Mapping[str, Callable[..., nn.Module]]) -> nn.Module:
    """Turn what the user gave into a module, once, at the door.

    Args:
        kind: what the part is called in an error.
        spec: a name in ``table``, a mapping with a "name" and the constructor's options, or a module.
        table: constructors by name.

    Raises:
        ModelError: the name is unknown, an option is, or ``spec`` is none of the three.
    """
    if isinstance(spec, nn.Module):
        return spec
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping) or "name" not in spec:
        raise ModelError(f"{kind} must be a name or an nn.Module, got {spec!r}")
    options = {key: value for key, value in spec.items() if key != "name"}
    if not isinstance(spec["name"], str) or spec["name"] not in table:
        raise ModelError(unknown_name(kind, spec["name"], table))
    try:
        return table[spec["name"]](**options)
    except TypeError as error:
        raise ModelError(f"{kind} {spec['name']!r}: {error}") from error


def own_config(part: nn.Module, table: Mapping[str, Callable[..., nn.Module]]) -> dict[str, Any] | None:
    """The configuration that makes a part of ours again; None for a user's own, though it may inherit one."""
    return part.config if type(part) in table.values() else None  # type: ignore[return-value]
