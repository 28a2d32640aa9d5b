"""The optimiser of a run: Adam, or the user's own once it is known that ``fit`` can drive it."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import torch
from pyro.optim import PyroOptim
from pyro.optim.lr_scheduler import PyroLRScheduler
from torch import Tensor

from ppl_vae.errors import ModelError, reason_of, unknown_name
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.objectives.schedules import Schedule, describe

# A group of parameters with its options, as torch's optimisers keep it; and the options alone.
ParamGroup: TypeAlias = dict[str, Any]
Options: TypeAlias = dict[str, Any]
Maker: TypeAlias = Callable[..., torch.optim.Optimizer]
Optimizer = Callable[[list[Tensor]], torch.optim.Optimizer] | PyroOptim

WAY_OUT = "give a class such as torch.optim.AdamW, a partial of one, or a function of the list of parameters"


# What fit(optimizer=NAME) means, in small letters; Adam in one fused kernel is the default.
BY_NAME: Mapping[str, Optimizer | None] = {
    "adam": None,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "adagrad": torch.optim.Adagrad,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}


def named_optimizer(optimizer: Optimizer | str | None) -> Optimizer | None:
    """Look a name up; anything else is as it is.

    Raises:
        ModelError: no optimiser has that name.
    """
    if not isinstance(optimizer, str):
        return optimizer
    if optimizer.lower() not in BY_NAME:
        raise ModelError(f"{unknown_name('optimizer', optimizer, BY_NAME)}; or {WAY_OUT}")
    return BY_NAME[optimizer.lower()]


def make_optimizer(
    optimizer: Optimizer | None,
    parameters: list[Tensor],
    objective: Objective,
    lr: float,
    schedule: Schedule | None,
) -> torch.optim.Optimizer:
    """The optimiser over the parameters: Adam in one fused kernel, unless the user brought another.

    Raises:
        ModelError: what the user brought makes none, or one that a plain step on gradients cannot drive.
    """
    if optimizer is None:
        return torch.optim.Adam(_groups(parameters, objective, None), lr=lr, fused=True)
    make, options = _constructor(optimizer)
    if takes_rate(optimizer):
        options = {**options, "lr": lr}
    try:
        made = make(parameters, **options)
        if objective.optimizer_options and isinstance(make, type) and isinstance(made, torch.optim.Optimizer):
            made = make(_groups(parameters, objective, made.defaults), **options)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        reason = reason_of(error)
        raise ModelError(
            f"optimizer {describe_optimizer(optimizer)} cannot be made ({reason}); {WAY_OUT}"
        ) from None
    _require_drivable(made, schedule)
    _require_all(made, parameters)
    if objective.optimizer_options and not isinstance(make, type):
        _say_left_out(objective)
    return made


def check_optimizer(optimizer: object) -> None:
    """Refuse what cannot make an optimiser, before anything is prepared.

    Raises:
        ModelError: the kind is named, with the way out.
    """
    if optimizer is None:
        return
    if isinstance(optimizer, torch.optim.Optimizer):
        kind = type(optimizer).__name__
        raise ModelError(
            f"optimizer must be a callable on parameters, got an {kind} that exists already; {WAY_OUT}"
        )
    if inspect.isfunction(optimizer) and optimizer.__module__.startswith("pyro.optim"):
        name = optimizer.__name__
        raise ModelError(f"optimizer pyro.optim.{name} must be called, as pyro.optim.{name}({{'lr': 1e-3}})")
    if not isinstance(optimizer, PyroOptim) and not callable(optimizer):
        raise ModelError(f"optimizer must be a callable on parameters, got {optimizer!r}; {WAY_OUT}")
    if isinstance(optimizer, PyroLRScheduler):
        raise ModelError(
            "optimizer is a Pyro scheduler, whose steps fit does not count; give its optimiser, and its schedule "
            "as schedule=, a function of the step such as inference.objectives.schedules.exponential(rate, steps)"
        )
    if isinstance(optimizer, PyroOptim):
        if not isinstance(optimizer.pt_optim_args, dict):
            raise ModelError(
                "optimizer has arguments of each parameter (a function), which fit does not know by Pyro's names; "
                "give a dict, or a function of the list of parameters that makes groups"
            )
        if optimizer.pt_clip_args:
            raise ModelError(
                "optimizer clips each parameter's gradient by itself (clip_args), which fit does not do; "
                "give max_grad_norm= for the norm of the whole gradient, or pyro.optim.ClippedAdam for each element"
            )


def takes_rate(optimizer: object) -> bool:
    """Tell whether the run sets ``lr``: for a class, or a partial or Pyro's wrapper that does not fix it."""
    if isinstance(optimizer, PyroOptim):
        return "lr" not in _arguments(optimizer)
    if isinstance(optimizer, functools.partial):
        return isinstance(optimizer.func, type) and "lr" not in optimizer.keywords
    return optimizer is None or isinstance(optimizer, type)


def describe_optimizer(optimizer: object) -> str:
    """Describe an optimiser for a manifest, with the same words in every process."""
    if optimizer is None:
        return "Adam"
    if isinstance(optimizer, PyroOptim):
        return f"pyro.optim {describe(optimizer.pt_optim_constructor)}({optimizer.pt_optim_args})"
    return describe(optimizer)


def _constructor(optimizer: Optimizer) -> tuple[Maker, Options]:
    if isinstance(optimizer, PyroOptim):
        return cast(Maker, optimizer.pt_optim_constructor), _arguments(optimizer)
    return optimizer, {}


def _arguments(optimizer: PyroOptim) -> Options:
    return dict(cast(Options, optimizer.pt_optim_args))


def _groups(
    parameters: list[Tensor], objective: Objective, known: Options | None
) -> list[Tensor] | list[ParamGroup]:
    """The parameters, those of the objective in a group of its own if it wants them treated otherwise."""
    options = {name: v for name, v in objective.optimizer_options.items() if known is None or name in known}
    if len(options) < len(objective.optimizer_options):
        _say_left_out(objective, set(objective.optimizer_options) - set(options))
    if not options:
        return parameters
    of_objective = {id(parameter) for parameter in objective.parameters()}
    theirs, ours = ([p for p in parameters if (id(p) in of_objective) is mine] for mine in (False, True))
    groups: list[ParamGroup] = [{"params": theirs}, {"params": ours, **options}]
    return groups


def _say_left_out(objective: Objective, names: set[str] | None = None) -> None:
    left = ", ".join(sorted(names or set(objective.optimizer_options)))
    warnings.warn(
        f"{type(objective).__name__} wants {left} of its own for its parameters, which this optimizer does not get",
        stacklevel=7,
    )


def _require_drivable(made: object, schedule: Schedule | None) -> None:
    if not isinstance(made, torch.optim.Optimizer):
        raise ModelError(f"optimizer must make a torch.optim.Optimizer, got {type(made).__name__}; {WAY_OUT}")
    name = type(made).__name__
    closure = inspect.signature(made.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ModelError(
            f"optimizer {name} evaluates the loss several times a step, which noisy draws and minibatches do not "
            "allow; choose one that takes a step on one gradient, such as torch.optim.Adam"
        )
    if isinstance(made, torch.optim.SparseAdam):
        raise ModelError(
            "optimizer SparseAdam needs sparse gradients, and these are dense; choose torch.optim.Adam"
        )
    if schedule is not None and any(group.get("lrd", 1.0) != 1.0 for group in made.param_groups):
        raise ModelError(f"optimizer {name} lets its rate decay by lrd, which schedule= would override; use one")
    for group in made.param_groups:
        if "lr" not in group and schedule is not None:
            raise ModelError(f"optimizer {name} has no learning rate that schedule= could multiply")


def _require_all(made: torch.optim.Optimizer, parameters: list[Tensor]) -> None:
    held = {id(leaf) for group in made.param_groups for leaf in group["params"]}
    missing = sum(id(leaf) not in held for leaf in parameters)
    if missing == len(parameters):
        raise ModelError("optimizer holds none of the pair's parameters: it must be made from the list it receives")
    if missing:
        warnings.warn(
            f"optimizer holds {len(parameters) - missing} of {len(parameters)} parameters; the others never train",
            stacklevel=7,
        )
