"""Torch's compiler stays unloaded where nothing is compiled, also where steps are traced or their code is kept.

Torch keeps its compiler away from some of its own functions, such as those of its optimisers, and loads it at their
first call to tell it so: two seconds of every new process. Where it is not loaded it need not be told.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

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
