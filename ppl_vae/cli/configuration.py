"""Options of a command as a file: what ``--config`` reads, and what a run's manifest keeps of its command.

A file is YAML, JSON, or the manifest.json of a run, whose field "command" is such a configuration. Its fields are
the options by their names, without the dashes before them; an option that is typed has the last word. A dict stands
for options of the form KEY=VALUE.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from ppl_vae.errors import CheckpointError, first_line, unknown_name
from ppl_vae.extras import imported
from ppl_vae.files import read_json, write_json
from ppl_vae.inference.training.run_files import MANIFEST

COMMAND = "command"
# Where a run goes and what is shown of it are of the one command alone.
OF_ONE_RUN = ("config", "out", "resume", "quiet", "no_figures")


def load_options(context: typer.Context, path: Path | None) -> Path | None:
    """Take the options of a file as the defaults of those that are not typed.

    Raises:
        typer.BadParameter: a field is no option of the command.
        CheckpointError: the file is missing, or no mapping of options.
    """
    if path is None or str(path) == "None":
        return None
    names = {_plain_name(str(each.name)): str(each.name) for each in context.command.params}
    given: dict[str, object] = {}
    for field, value in read_options(path.expanduser()).items():
        name = field.replace("-", "_")
        if name not in names or name in ("config", "help"):
            known = [option for option in names if option != "config"]
            raise typer.BadParameter(f"{path}: {unknown_name('option', field, known)}")
        if value is not None:
            given[names[name]] = _typed(value)
    context.default_map = {**(context.default_map or {}), **given}
    return path


def keep_command(folder: Path, context: typer.Context) -> None:
    """Write the options of this command into the manifest of the run that it made."""
    command = {
        _plain_name(name): _stored(value)
        for name, value in context.params.items()
        if name not in OF_ONE_RUN and value not in (None, [], ())
    }
    manifest = read_json(folder / MANIFEST)
    write_json(folder / MANIFEST, manifest | {COMMAND: command})


def read_options(path: Path) -> Mapping[str, object]:
    """The options of a file, or of the command in a manifest.

    Raises:
        CheckpointError: the file is missing, or no mapping of options.
    """
    content = _read_yaml(path) if path.suffix.lower() in (".yaml", ".yml") else read_json(path)
    if isinstance(content, dict) and isinstance(content.get(COMMAND), dict):
        content = content[COMMAND]
    elif isinstance(content, dict) and "versions" in content:
        raise CheckpointError(f"{path}: the manifest of a run that no command made; it has no field {COMMAND!r}")
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise CheckpointError(f"{path}: expected options by their names, such as 'latent-dim: 2'")
    return content


def _read_yaml(path: Path) -> Any:
    yaml = imported("yaml", f"{path}: reading YAML", "'ppl_vae[config]'", CheckpointError)
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path}: no YAML that can be read ({first_line(error)})") from None


def _typed(value: object) -> object:
    """A value as it would be typed: KEY=VALUE for the items of a dict, JSON for other structures."""
    if isinstance(value, dict) and "name" not in value:
        return [f"{key}={_text(item)}" for key, item in value.items()]
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value if isinstance(value, bool) else _text(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _stored(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    return [_stored(item) for item in value] if isinstance(value, list | tuple) else value


def _plain_name(name: str) -> str:
    return name.rstrip("_")
