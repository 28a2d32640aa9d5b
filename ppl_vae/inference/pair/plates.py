"""The plates of a pair's programs: the particles', to the left of the user's own, and what Pyro says of plates."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pyro
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.errors import ModelError, PplVaeError
from ppl_vae.inference.pair.trace_site import TraceSite

PARTICLES = "_ppl_vae_particles"
EACH_DATUM = (
    "Programs that keep a number per datum take all data at once: fit with a batch_size of all data; "
    "functions that cut the data, or simulate others, cannot run them"
)
# Of Pyro, when a name stands at two places of one program.
TWICE = "Multiple sample sites named"
# In torch's complaints about shapes.
MISFITS = ("must match", "shape mismatch", "broadcast", "is invalid for input of size")


def particles(number: int, nesting: int = 1) -> contextlib.AbstractContextManager[object]:
    """Open a plate of K particles to the left of ``nesting`` dimensions of plates; none where K is 1."""
    return pyro.plate(PARTICLES, number, dim=-1 - nesting) if number > 1 else contextlib.nullcontext()


class WholePlates(Messenger):
    """Refuse a plate that would draw some of the data at hand, before it does.

    Args:
        x: the data; where they are no tensor nothing is refused.
    """

    def __init__(self, x: object) -> None:
        super().__init__()
        self.size = len(x) if isinstance(x, Tensor) and x.dim() else None

    def _pyro_sample(self, msg: TraceSite) -> None:
        if self.size is None or type(msg["fn"]).__name__ != "_Subsample" or msg["value"] is not None:
            return
        taken, full = msg["fn"].subsample_size, msg["fn"].size
        # Another plate, of groups, may draw some of them: its own factor makes the sum unbiased.
        if full == self.size and taken not in (None, full):
            raise ModelError(plate_refusal(taken, self.size))


@contextlib.contextmanager
def one_line_refusals() -> Iterator[None]:
    """Refusals, and Pyro's own complaints about plates, in one line."""
    try:
        yield
    except PplVaeError as error:
        # Pyro appends the shapes of its trace, line by line, to whatever a program raises.
        words, trace, _ = str(error).partition("\nTrace Shapes")
        if not trace:
            raise
        raise type(error)(words) from error
    except ValueError as error:
        complaint = str(error).partition("\n")[0]
        if "Shape mismatch inside plate" in complaint:
            raise ModelError(f"{complaint}; is an .to_event() missing? {EACH_DATUM}") from error
        if "collide at dim" in complaint and PARTICLES in complaint:
            theirs = next(name for name in complaint.split('"')[1::2] if name != PARTICLES)
            raise ModelError(
                f"plates '{theirs}': they nest to the left of the data, where the draws stand of a function that "
                "sets the latent values itself; fit, evaluate and the functions of the guide's own draws run them"
            ) from error
        if "collide at dim" in complaint:
            raise ModelError(f"{complaint}; nested plates need dimensions of their own") from error
        if complaint.startswith("Expected more than 1 value per channel"):
            raise ModelError(
                "a batch of one datum has no spread for a BatchNorm: choose a batch_size that leaves no single "
                "datum for the last batch, or another normalisation"
            ) from error
        if complaint.startswith("Expected "):
            # torch's own validation of parameters and values.
            raise ModelError(complaint.rstrip(":")) from error
        raise
    except (RuntimeError, IndexError) as error:
        complaint = str(error).strip().partition("\n")[0]
        if TWICE in complaint:
            raise ModelError(
                f"{complaint}; every site and every plate of a program needs a name of its own"
            ) from error
        if isinstance(error, RuntimeError) and not any(words in complaint for words in MISFITS):
            raise
        raise ModelError(f"the programs' tensors do not fit these data: {complaint}. {EACH_DATUM}") from error


def size_in_words(size: int, full_size: int) -> str:
    """The size of a plate, and of how many where it is subsampled."""
    return str(size) if size == full_size else f"{size} of {full_size}"


def plate_refusal(taken: int, given: int) -> str:
    """Why a plate of another length than the data cannot be judged."""
    if taken > given:
        return (
            f"the data plate takes {taken} of {given} data: its length, and what is observed in it, must come from "
            "x, as in pyro.plate('data', len(x))"
        )
    return (
        f"the data plate takes {taken} of {given} data, and a mean over data counts every datum once: remove "
        "the subsampling and let fit make the batches (data in the first dimension of x)"
    )
