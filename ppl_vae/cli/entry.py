"""``ppl-vae`` as a process: a mistake of the user gives one line on stderr and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ppl_vae.cli.console import one_line, print_anywhere
from ppl_vae.cli.overview import overview
from ppl_vae.errors import PplVaeError

MISTAKE, INTERRUPTED, UNHEARD = 2, 130, 141
# How torch's allocators say that memory ran out, in a RuntimeError.
OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "Storage size calculation overflowed",
)
# By which a shell asks typer, without arguments, how a line may go on.
COMPLETION = "_PPL_VAE_COMPLETE"


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code.

    Args:
        args: by default those of the process; none at all show the help.
    """
    given = sys.argv[1:] if args is None else list(args)
    print_anywhere()
    try:
        code = _answered(given or ["--help"])
    except PplVaeError as error:
        code = complain(str(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on, as in ppl-vae recipes | head; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = UNHEARD
    except OSError as error:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        code = complain(f"{where}{error.strerror or error}")
    except MemoryError as error:
        code = complain(f"not enough memory: {error}")
    except RuntimeError as error:
        # Anything else is a fault of ours, and its traceback is what we want to see.
        if not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        code = complain(f"not enough memory: {error}")
    sys.exit(code)


def _answered(given: list[str]) -> int:
    if given in (["--help"], ["-h"]) and COMPLETION not in os.environ:
        sys.stdout.write(f"{overview()}\n")
        sys.stdout.flush()
        return 0
    # Here, since typer costs more than all else of the overview.
    import typer

    from ppl_vae.cli import app

    try:
        return app.call(given)
    except app.UsageErrors as error:
        return complain(error.format_message())  # type: ignore[attr-defined]
    except typer.Abort:
        return INTERRUPTED


def complain(message: str) -> int:
    """Say in one line what is wrong, and give the exit code of a mistake."""
    # Plain text and never wrapped: a file name must survive a pipe in one piece.
    sys.stderr.write(f"ppl-vae: {one_line(message)}\n")
    return MISTAKE
