"""Numbers in prose come from the records of measurements: [[name.key.key | format]] stands for one of them.

[[first_page.elbo | .2f]] is read from benchmarks/results/first_page.json; a key that is not there stops the build.
"""

from __future__ import annotations

import re
from typing import Any

from mkdocs.exceptions import PluginError
from pages import result

NUMBER = re.compile(r"\[\[([\w-]+)\.([^\]|]+?)\s*(?:\|\s*([^\]]*))?\]\]")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the numbers into a page."""
    return NUMBER.sub(lambda found: number(*found.groups(), where=page.file.src_uri), markdown)


def number(name: str, keys: str, form: str | None, where: str) -> str:
    """One number as text."""
    value = result(name)
    for key in keys.split("."):
        if not isinstance(value, dict) or key not in value:
            raise PluginError(f"{where}: benchmarks/results/{name}.json has no {keys!r}")
        value = value[key]
    return format(value, form or "")
