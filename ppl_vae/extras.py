"""Libraries that the package can do without, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from ppl_vae.errors import ModelError, PplVaeError, first_line


def imported(library: str, need: str, install: str, kind: type[PplVaeError] = ModelError) -> ModuleType:
    """Import a library that may be missing.

    Args:
        library: the module.
        need: what needs it, as the message begins.
        install: what pip installs it by.
        kind: the error.

    Raises:
        PplVaeError: of that kind. Either the library is not installed, or it is and cannot be imported, as pyarrow
            for a newer NumPy: then the message has its own words, since to install it again does not help.
    """
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name == library.partition(".")[0]:
            raise kind(f"{need} needs {error.name}: pip install {install}") from None
        found: Exception = error
    except Exception as error:
        found = error
    raise kind(
        f"{need} needs {library}, which is installed and cannot be imported ({first_line(found)})"
    ) from found
