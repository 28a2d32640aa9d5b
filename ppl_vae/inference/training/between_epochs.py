"""Changes by callbacks between two epochs: captured steps follow them, or make way for the programs.

A captured step reads every tensor anew, and the learning rates besides. What Python wrote into it stands still: a
temperature or a weight of the KL that is a plain number, a module in another's place, the settings of an optimiser
whose steps are compiled, and which parameters are frozen. So all of these are looked at before callbacks are called
and after.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ppl_vae.errors import ModelError
from ppl_vae.inference.compilation.changeover import Changeover
from ppl_vae.inference.compilation.moving_state import Memory, changed, remember
from ppl_vae.inference.compilation.steppers import CompiledStepper, TracedStepper
from ppl_vae.inference.pair.held import modules_of
from ppl_vae.inference.training.rank_steps import RankStepper
from ppl_vae.inference.training.spare_threads import SpareThreads
from ppl_vae.inference.training.steps import Stepper, Steps
from ppl_vae.inference.training.weights import Weights

RATE = "lr"
Settings = list[dict[str, Any]]


@dataclass(frozen=True)
class Look:
    """All that callbacks may change, at one moment.

    Attributes:
        memory: what the programs and the objective hold; empty where steps run them anyway.
        parts: their modules.
        moves: whether each leaf is trained.
        settings: the optimiser's groups without their leaves.
    """

    memory: Memory
    parts: list[nn.Module]
    moves: list[bool]
    settings: Settings


@dataclass(frozen=True)
class Change:
    """A change that callbacks made.

    Attributes:
        of: its name.
        certain: whether captured steps are wrong by it; else a comparison with the programs tells.
        in_optimizer: whether steps are right as soon as the optimiser takes them itself.
    """

    of: str
    certain: bool
    in_optimizer: bool = False


def taker(steps: Steps) -> Stepper | TracedStepper | CompiledStepper:
    """The one that takes the steps in the end, without what is wrapped around it."""
    if isinstance(steps, SpareThreads | Changeover):
        return taker(steps.now)
    if isinstance(steps, RankStepper):
        return steps.steps
    assert isinstance(steps, Stepper | TracedStepper | CompiledStepper)
    return steps


def eager_of(steps: Steps) -> Stepper:
    """The eager step behind any steps."""
    own = taker(steps)
    own = own.traced if isinstance(own, CompiledStepper) else own
    return own.eager if isinstance(own, TracedStepper) else own


def look(steps: Steps, weights: Weights, everything: bool = False) -> Look:
    """Look at what callbacks may change; at programs only where steps are captured, or ``everything`` is asked."""
    eager = eager_of(steps)
    programs = eager.model, eager.guide, eager.objective
    reads = everything or taker(steps) is not eager
    # Weights and buffers are read anew at every step.
    kept = [*weights.tensors().values(), *weights.untrained()]
    settings = [{k: v for k, v in group.items() if k != "params"} for group in eager.optimizer.param_groups]
    return Look(
        remember(programs, kept) if reads else {},
        modules_of(*programs) if reads else [],
        [leaf.requires_grad for leaf in eager.parameters],
        settings,
    )


def what_changed(steps: Steps, before: Look, after: Look) -> Change | None:
    """Say what captured steps may not follow, or None."""
    if before.moves != after.moves:
        return Change("which parameters are frozen", certain=True)
    if isinstance(taker(steps), CompiledStepper) and _without_rates(before) != _without_rates(after):
        return Change("a setting of the optimiser", certain=True, in_optimizer=True)
    name = changed(before.memory, after.memory)
    if name is None and [*map(id, before.parts)] != [*map(id, after.parts)]:
        name = "a module of the programs"
    return None if name is None else Change(name, certain=False)


def require_known(weights: Weights, parameters: list[Tensor]) -> None:
    """Refuse a parameter that a callback made or let go: the optimiser has never heard of it.

    Raises:
        ModelError: it is named.
    """
    known = {id(leaf) for leaf in parameters}
    for name, leaf in weights.named_parameters().items():
        if id(leaf) not in known:
            raise ModelError(
                f"a callback made {name!r} trainable, or put another parameter in its place: a run trains the "
                'parameters that it began with. Let the callback return "stop", and call fit again'
            )


def warn_of_rates(eager: Stepper, before: Look, after: Look) -> None:
    """Warn of a learning rate set by a callback where a schedule sets it at every step."""
    if eager.schedule is None or _rates(before) == _rates(after):
        return
    warnings.warn(
        "a callback set the learning rate of the optimiser, which schedule= sets anew at every step: leave out one",
        stacklevel=5,
    )


def warn_of_first_alone(before: Look, after: Look, change: Change | None) -> None:
    """Warn that callbacks, which the first process alone has, changed what all should have alike."""
    name = change.of if change is not None else None
    if name is None and before.settings != after.settings:
        name = "a setting of the optimiser"
    if name is not None:
        words = "callbacks are called in the first process alone, so that the others go on with what it was"
        warnings.warn(f"a callback changed {name}: {words}", stacklevel=5)


def _rates(seen: Look) -> list[Any]:
    return [group.get(RATE) for group in seen.settings]


def _without_rates(seen: Look) -> Settings:
    return [{key: value for key, value in group.items() if key != RATE} for group in seen.settings]
