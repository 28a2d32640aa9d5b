"""Programs that observe data of their own, whatever they are given: as by ``pyro.condition``, or from a global.

Their densities are those of the held data while the guide sees others, and parts of the data would meet all of it.
What a program makes of its arguments is made anew in every run; what it holds is the same memory in two.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.learned import lasting
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.trace import run_pair
from ppl_vae.inference.pair.wrapping import bound_to

if TYPE_CHECKING:
    from ppl_vae.inference.pair.terms import Terms

# Programs that were run twice and made what they observe, with the functions of theirs that did.
_makers: weakref.WeakKeyDictionary[object, set[object]] = weakref.WeakKeyDictionary()


def require_data_of_the_call(
    model: Program, guide: Program, args: tuple[object, ...], kwargs: Mapping[str, object], terms: Terms
) -> None:
    """Refuse an observed value of several data that is none of the arguments but one that the program holds.

    Args:
        model: the generative program.
        guide: its guide.
        args: what both were run on.
        kwargs: likewise.
        terms: of that run.

    Raises:
        ModelError: the site is named.
    """
    arguments = (*args, *kwargs.values(), *bound_to(model))
    given = {_storage(each) for each in arguments if isinstance(each, Tensor)}
    values = {name: observation.value for name, observation in terms.observations.items()}
    others = {name: value for name, value in values.items() if _is_data(value) and _storage(value) not in given}
    held, function = lasting(model)
    if not others or function in _makers.get(held, ()):
        return
    again = tuple(each.clone() if isinstance(each, Tensor) else each for each in args)
    device = next(iter(others.values())).device
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        found = run_pair(model, guide, again, kwargs, terms.log_likelihood.shape[0], "total").observed
    for name, value in others.items():
        if _storage(found[name]["value"]) == _storage(value):
            raise ModelError(
                f"site {name!r} is observed at values that the program holds, as by pyro.condition, whatever data "
                "it is given; let it observe its argument: obs=x"
            )
    _makers.setdefault(held, set()).add(function)


def _is_data(value: object) -> bool:
    """Tell data from one number everywhere, a density in the guise of an observation, as of zeros."""
    return isinstance(value, Tensor) and value.numel() > 1 and bool((value != value.flatten()[0]).any())


def _storage(value: Tensor) -> int:
    return 0 if value.layout is not torch.strided else value.untyped_storage().data_ptr()
