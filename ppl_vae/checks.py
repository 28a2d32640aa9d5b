"""Checks of the numbers that a user gives."""

from __future__ import annotations

import math
import os
from numbers import Integral, Real
from typing import Any

from ppl_vae.errors import ModelError, PplVaeError


def whole(name: str, value: object, least: int | None = 1) -> Any:
    """Convert an integer of any type to an int; None is returned as None.

    Raises:
        ModelError: the value is of another type, or below ``least``.

    >>> whole("epochs", 3)
    3
    """
    if value is None:
        return None
    bound = "" if least is None else f" of at least {least}"
    if isinstance(value, bool) or not isinstance(value, Integral) or (least is not None and value < least):
        raise ModelError(f"{name} must be an integer{bound}, got {value!r}")
    return int(value)


def integer(name: str, value: object, least: int | None = 1) -> int:
    """Convert a required integer of any type to an int.

    Raises:
        ModelError: the value is of another type, or below ``least``.

    >>> integer("num_samples", 3)
    3
    """
    if value is None:
        bound = "" if least is None else f" of at least {least}"
        raise ModelError(f"{name} must be an integer{bound}, got None")
    found: int = whole(name, value, least)
    return found


def truth(name: str, value: object) -> bool:
    """Convert a True or False, NumPy's too, to a bool: anything else, such as labels at its place, would be true.

    Raises:
        ModelError: the value is of another type.

    >>> truth("with_noise", True)
    True
    """
    # NumPy's are called so; it is not loaded for this.
    if type(value).__name__ not in ("bool", "bool_"):
        told = repr(value) if isinstance(value, Real | str) else type(value).__name__
        raise ModelError(f"{name} must be True or False, got {told}; what comes after it is given by name")
    return bool(value)


def real(name: str, value: object, least: float = -math.inf) -> float:
    """Convert a finite number of any type to a float.

    Raises:
        ModelError: the value is of another type, or below ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ModelError(f"{name} must be a number, got {value!r}")
    if not least <= float(value) < math.inf:
        bound = "finite" if least == -math.inf else f"at least {least:g} and finite"
        raise ModelError(f"{name} must be {bound}, got {value!r}")
    return float(value)


def positive(name: str, value: object) -> float:
    """Convert a positive finite number of any type to a float.

    Raises:
        ModelError: the value is of another type, or not positive.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ModelError(f"{name} must be a number, got {value!r}")
    if not 0 < float(value) < math.inf:
        raise ModelError(f"{name} must be positive and finite, got {value!r}")
    return float(value)


def require_memory(what: str, needed: float, refusal: type[PplVaeError] = ModelError) -> None:
    """Refuse what takes more bytes than this machine has memory.

    Raises:
        ModelError: or another ``refusal``; how much is needed, and how much there is.

    >>> require_memory("ten numbers", 80)
    """
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        # A system that does not say.
        return
    if needed > memory:
        raise refusal(
            f"{what} needs at least {needed / 2**30:,.0f} GiB of memory, and this machine has {memory / 2**30:,.0f}"
        )
