"""The commands of ``ppl-vae``; a mistake of the user gives one line on stderr and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ppl_vae.cli.cache import cache
from ppl_vae.cli.compare import compare
from ppl_vae.cli.compare_recipes import compare_recipes
from ppl_vae.cli.compress import compress, decompress
from ppl_vae.cli.console import one_line, print_anywhere
from ppl_vae.cli.diagnose import diagnose
from ppl_vae.cli.evaluate import evaluate
from ppl_vae.cli.infer import infer
from ppl_vae.cli.listings import datasets, recipes
from ppl_vae.cli.plot import plot
from ppl_vae.cli.sample import sample
from ppl_vae.cli.sweep import sweep
from ppl_vae.cli.train import train
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
    help="Variational autoencoders as probabilistic programs in Pyro.",
    epilog="First steps: ppl-vae train vae --data digits --out runs/first, and then ppl-vae plot runs/first",
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Variational autoencoders as probabilistic programs in Pyro."""


for _command, _examples in (
    (
        train,
        (
            "ppl-vae train vae --data digits --latent-dim 2 --out runs/digits",
            "ppl-vae train beta-vae --data mnist --set beta=4 --out runs/beta",
            "ppl-vae train conv-vae --data images.npz --validation 0.1 --patience 5 --out runs/mine",
        ),
    ),
    (evaluate, ("ppl-vae evaluate runs/digits", "ppl-vae evaluate runs/digits --split train --num-particles 100")),
    (
        compare,
        (
            "ppl-vae compare runs/digits",
            "ppl-vae compare vae --data digits --estimators analytic-kl,sticking-the-landing,iwae,dreg",
        ),
    ),
    (
        compare_recipes,
        (
            "ppl-vae compare-recipes vae iwae iaf-vae --data digits --epochs 50",
            "ppl-vae compare-recipes vae beta-vae:beta=0.25 beta-vae:beta=16 --data mnist --seeds 5",
        ),
    ),
    (sweep, ("ppl-vae sweep beta.yaml --out runs/beta", "ppl-vae sweep beta.yaml --workers 4 --resume")),
    (diagnose, ("ppl-vae diagnose runs/digits", "ppl-vae diagnose runs/mnist --data mnist --out report.html")),
    (
        infer,
        (
            "ppl-vae infer runs/digits --out posterior.nc",
            "ppl-vae infer runs/digits --data digits --out posterior.nc --keep blocks",
        ),
    ),
    (sample, ("ppl-vae sample runs/digits --n 100", "ppl-vae sample runs/digits --with-noise --out draws.npz")),
    (
        plot,
        (
            "ppl-vae plot runs/digits",
            "ppl-vae plot runs/digits manifold --extent -2 2",
            "ppl-vae plot runs/faces arithmetic --attribute smiling",
        ),
    ),
    (
        compress,
        ("ppl-vae compress runs/digits --out digits.pvbb", "ppl-vae compress runs/mnist --data scans.npz"),
    ),
    (decompress, ("ppl-vae decompress runs/digits digits.pvbb --out digits.npz",)),
    (datasets, ()),
    (recipes, ()),
    (cache, ()),
):
    app.command(epilog="Examples:\n\n" + "\n\n".join(_examples) if _examples else None)(_command)


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
