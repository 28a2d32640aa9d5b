"""The commands of ``ppl-vae`` for typer; each is imported when it is called."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ppl_vae.cli.commands import COMMANDS
from ppl_vae.cli.overview import ABOUT, OPTIONS, overview

HELP_NAMES = {"help_option_names": ["-h", "--help"]}
# Every usage error of typer; newer versions of typer carry click inside, so that it cannot be imported.
UsageErrors: type[Exception] = typer.BadParameter.__mro__[2]


def loaded(name: str) -> object:
    """The command itself, as typer makes it from its function."""
    row = COMMANDS[name]
    function = vars(importlib.import_module(f"ppl_vae.cli.{row.module}"))[name.replace("-", "_")]
    alone = typer.Typer(
        rich_markup_mode="markdown",
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings=HELP_NAMES,
    )
    epilog = "Examples:\n\n" + "\n\n".join(row.examples) if row.examples else None
    alone.command(name, epilog=epilog)(function)
    return typer.main.get_command(alone)


class LazyCommands(TyperGroup):
    """A group whose commands are imported when they are called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first argument names, and the arguments that are left."""
        name, stub, rest = super().resolve_command(ctx, args)
        return name, stub if name is None else loaded(name), rest

    def get_help(self, ctx: Any) -> str:
        """The list of the commands, as it is without typer."""
        return overview()


def _print_version(wanted: bool) -> None:
    if wanted:
        from ppl_vae.version import __version__

        typer.echo(f"ppl-vae {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyCommands,
    help=ABOUT,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=HELP_NAMES,
)


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", help=OPTIONS["--version"], is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Variational autoencoders as probabilistic programs in Pyro."""


def _listed() -> None:
    """Stand for a command in the list; the group calls the command itself."""


for _name, _row in COMMANDS.items():
    app.command(_name, short_help=_row.summary)(_listed)


def call(given: list[str]) -> int:
    """Call a command; the exit code.

    Raises:
        UsageErrors: the arguments are none that it takes.
        typer.Abort: a question of its was broken off.
    """
    return app(given, prog_name="ppl-vae", standalone_mode=False) or 0
