"""Torch's compiler stays unloaded where nothing is compiled, also where steps are traced or their code is kept.

Torch keeps its compiler away from some of its own functions, such as those of its optimisers, and loads it at their
first call to tell it so: two seconds of every new process. Where it is not loaded it need not be told.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.optim import Optimizer

COMPILER = "torch._dynamo"
# Where torch notes that its compiler was told of a function.
TOLD = "__dynamo_disable"


def kept_away() -> tuple[Callable[..., object], ...]:
    """The functions of that kind that training calls."""
    # Where there is Triton it is loaded with these.
    from torch.utils import flop_counter

    return (
        Optimizer.add_param_group,
        Optimizer.zero_grad,
        Optimizer.state_dict,
        Optimizer.load_state_dict,
        flop_counter._FlopCounterMode.__torch_dispatch__,
    )


@contextlib.contextmanager
def compiler_unloaded(*functions: Callable[..., object]) -> Iterator[None]:
    """Let functions that the compiler is kept away from be called without it; what needs it loads it as ever.

    Args:
        functions: by default torch's own that training calls.
    """
    wrapped = [] if COMPILER in sys.modules else functions or kept_away()
    plain = [vars(each).get("__wrapped__") for each in wrapped]
    untold = [function for function in plain if function is not None and TOLD not in vars(function)]
    for function in untold:
        setattr(function, TOLD, function)
    try:
        yield
    finally:
        for function in untold:
            delattr(function, TOLD)


def adam(
    leaves: list[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.999), weight_decay: float = 0.0
) -> torch.optim.Adam:
    """Make torch's Adam without its compiler."""
    with compiler_unloaded():
        return torch.optim.Adam(leaves, lr=lr, betas=betas, weight_decay=weight_decay)


@torch.no_grad()
def adam_step(optimizer: Optimizer) -> None:
    """Take a step of torch's Adam; what torch wraps around it loads its compiler."""
    inspect.unwrap(torch.optim.Adam.step)(optimizer)
