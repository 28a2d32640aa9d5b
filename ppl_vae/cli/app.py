"""The commands of ``ppl-vae``; a mistake of the user gives one line on stderr and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ppl_vae.cli.commands import COMMANDS, HELP_NAMES, LazyCommands
from ppl_vae.cli.console import one_line, print_anywhere
from ppl_vae.errors import PplVaeError

MISTAKE, INTERRUPTED, UNHEARD = 2, 130, 141
# How torch's allocators say that memory ran out, in a RuntimeError.
OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "Storage size calculation overflowed",
)

# Every usage error of typer; newer versions of typer carry click inside, so that it cannot be imported.
UsageErrors: type[Exception] = typer.BadParameter.__mro__[2]


def _print_version(wanted: bool) -> None:
    if wanted:
        from ppl_vae.version import __version__

        typer.echo(f"ppl-vae {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyCommands,
    help="Variational autoencoders as probabilistic programs in Pyro.",
    epilog="First steps: ppl-vae train vae --data digits --out runs/first, and then ppl-vae plot runs/first",
    # Plain, since to load rich costs more than all else of the list.
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=HELP_NAMES,
)


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Variational autoencoders as probabilistic programs in Pyro."""


def _listed() -> None:
    """Stand for a command in the list; the group calls the command itself."""


for _name, _row in COMMANDS.items():
    app.command(_name, short_help=_row.summary)(_listed)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code.

    Args:
        args: by default those of the process; none at all show the help.
    """
    given = sys.argv[1:] if args is None else list(args)
    print_anywhere()
    try:
        code = app(given or ["--help"], prog_name="ppl-vae", standalone_mode=False)
    except UsageErrors as error:
        code = _complain(error.format_message())  # type: ignore[attr-defined]
    except PplVaeError as error:
        code = _complain(str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on, as in ppl-vae recipes | head; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = UNHEARD
    except OSError as error:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        code = _complain(f"{where}{error.strerror or error}")
    except MemoryError as error:
        code = _complain(f"not enough memory: {error}")
    except RuntimeError as error:
        # Anything else is a fault of ours, and its traceback is what we want to see.
        if not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        code = _complain(f"not enough memory: {error}")
    sys.exit(code or 0)


def _complain(message: str) -> int:
    # Plain text and never wrapped: a file name must survive a pipe in one piece.
    typer.echo(f"ppl-vae: {one_line(message)}", err=True)
    return MISTAKE
