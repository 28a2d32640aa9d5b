"""The plates of a pair's programs: one vectorised plate over the data, and the particles' at dim -2."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pyro
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.errors import ModelError, PplVaeError
from ppl_vae.inference.pair.site_shapes import plate_refusal

PARTICLES = "_ppl_vae_particles"
EACH_DATUM = (
    "Programs that keep a number per datum take all data at once: fit with a batch_size of all data; "
    "functions that cut the data, or simulate others, cannot run them"
)
# In torch's complaints about shapes.
MISFITS = ("must match", "shape mismatch", "broadcast", "is invalid for input of size")


def particles(number: int) -> contextlib.AbstractContextManager[Any]:
    """Open a plate of K particles; none where K is 1."""
    return pyro.plate(PARTICLES, number, dim=-2) if number > 1 else contextlib.nullcontext()


class WholePlates(Messenger):
    """Refuse a plate that would draw some of the data at hand, before it does.

    Args:
        x: the data; where they are no tensor nothing is refused.
    """

    def __init__(self, x: Any) -> None:
        super().__init__()
        self.size = len(x) if isinstance(x, Tensor) and x.dim() else None

    def _pyro_sample(self, msg: Any) -> None:
        if self.size is None or type(msg["fn"]).__name__ != "_Subsample" or msg["value"] is not None:
            return
        taken, full = msg["fn"].subsample_size, msg["fn"].size
        if taken not in (None, full, self.size):
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
        if "collide at dim" in complaint:
            raise ModelError(f"{complaint}; every site needs one data plate at dim -1 and no other") from error
        if complaint.startswith("Expected "):
            # torch's own validation of parameters and values.
            raise ModelError(complaint.rstrip(":")) from error
        raise
    except (RuntimeError, IndexError) as error:
        complaint = str(error).strip().partition("\n")[0]
        if isinstance(error, RuntimeError) and not any(words in complaint for words in MISFITS):
            raise
        raise ModelError(f"the programs' tensors do not fit these data: {complaint}. {EACH_DATUM}") from error


def data_plate(nodes: Mapping[str, Any]) -> tuple[int, float]:
    """Size N and scale (full size over N) of the one plate that every site must stand in.

    Raises:
        ModelError: a site stands elsewhere, or sites in plates of different sizes; it is named.
    """
    sizes = {}
    for name, node in nodes.items():
        frames = [frame for frame in node["cond_indep_stack"] if frame.name != PARTICLES]
        sequential = [frame.name for frame in frames if not frame.vectorized]
        if sequential:
            raise ModelError(
                f"site {name!r} stands in the sequential plate {sequential[0]!r}; make the plate vectorised"
            )
        if [frame.dim for frame in frames] != [-1]:
            where = f"plates {[(f.name, f.dim) for f in frames]}" if frames else "no plate"
            raise ModelError(f"site {name!r} stands in {where}; every site needs one data plate at dim -1")
        sizes[name] = (frames[0].size, (frames[0].full_size or frames[0].size) / frames[0].size)
    (first, plate), *rest = sizes.items()
    for name, other in rest:
        if other != plate:
            raise ModelError(
                f"site {name!r} stands in a data plate of size {_size(other)}, site {first!r} in one of "
                f"{_size(plate)}; a guide with parameters of each datum takes all its data at once"
            )
    return plate


def _size(plate: tuple[int, float]) -> str:
    size, scale = plate
    return str(size) if scale == 1 else f"{size} of {round(size * scale)}"
