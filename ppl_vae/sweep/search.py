"""Searchers: which options are tried next. A grid tries all; Optuna learns from the scores it is told.

Akiba et al. (2019): https://arxiv.org/abs/1907.10902
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from ppl_vae.checks import whole
from ppl_vae.errors import ModelError
from ppl_vae.extras import imported

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

Options: TypeAlias = Mapping[str, object]
Space: TypeAlias = "Mapping[str, object] | Callable[[optuna.Trial], Options]"


@dataclass(frozen=True)
class Asked:
    """A point that shall be tried.

    Attributes:
        number: in the order of asking.
        options: to try.
        parameters: what the searcher knows it by.
    """

    number: int
    options: Options
    parameters: Options


class Search(Protocol):
    """A searcher: it gives points, by number, and is told their scores."""

    def next(self) -> Asked | None:
        """The next point, or None where there is no further one."""

    def tell(self, number: int, score: float | None) -> None:
        """Take in the score of a point, higher is better; None where it has none."""


@dataclass
class Grid:
    """Every combination of the listed values, the last name's fastest.

    Attributes:
        values: name -> what it may be.
    """

    values: Mapping[str, Sequence[object]]
    given: int = 0

    def next(self) -> Asked | None:
        """The next combination."""
        points = itertools.islice(itertools.product(*self.values.values()), self.given, None)
        point = next(points, None)
        if point is None:
            return None
        self.given += 1
        options = dict(zip(self.values, point, strict=True))
        return Asked(self.given - 1, options, options)

    def tell(self, number: int, score: float | None) -> None:
        """Learn nothing."""


@dataclass
class OptunaSearch:
    """Points that an Optuna study asks for.

    Attributes:
        study: maximises the score.
        space: distributions by name, or a function of an Optuna trial.
        num_points: how many are asked for.
    """

    study: optuna.Study
    space: Space
    num_points: int
    asked: dict[int, optuna.Trial] = field(default_factory=dict)

    def next(self) -> Asked | None:
        """Ask the study."""
        if len(self.asked) >= self.num_points:
            return None
        if callable(self.space):
            trial = self.study.ask()
            options: Options = dict(self.space(trial))
        else:
            trial = self.study.ask(cast("dict[str, BaseDistribution]", dict(self.space)))
            options = dict(trial.params)
        self.asked[trial.number] = trial
        return Asked(trial.number, options, dict(trial.params))

    def tell(self, number: int, score: float | None) -> None:
        """Tell the study a score, or that the point was pruned or failed."""
        from optuna.trial import TrialState

        if score is None:
            self.study.tell(self.asked[number], state=TrialState.PRUNED)
        else:
            self.study.tell(self.asked[number], score)


def search_over(
    space: Space, num_points: int | None, tried: Sequence[Options], seed: int, sampler: object = None
) -> Search:
    """The searcher for a space.

    Args:
        space: name -> list of values is a grid; name -> Optuna distribution, or a function of an Optuna trial that
            returns options, is searched by Optuna.
        num_points: how many points Optuna shall ask for; a grid has its own number.
        tried: the parameters of points that an earlier, killed sweep asked for, to be asked for first.
        seed: of Optuna's sampler.
        sampler: an Optuna sampler; by default its tree-structured Parzen estimator.

    Raises:
        ModelError: the space mixes both, is empty, or Optuna is not installed.
    """
    if isinstance(space, Mapping):
        if not space:
            raise ModelError("space: expected at least one option to try")
        lists = {name: values for name, values in space.items() if isinstance(values, list | tuple)}
        if len(lists) == len(space):
            empty = [name for name, values in lists.items() if not values]
            if empty or num_points is not None:
                wrong = f"{empty[0]!r} has no values" if empty else "a grid has its own number of points"
                raise ModelError(f"space: {wrong}")
            return Grid(lists)
        if lists:
            raise ModelError(f"space: {next(iter(lists))!r} is a list of values, others are Optuna distributions")
    library = imported("optuna", "a space that is no grid", "'ppl_vae[sweep]'")
    _require_distributions(space, library.distributions.BaseDistribution)
    library.logging.set_verbosity(library.logging.WARNING)
    chosen = library.samplers.TPESampler(seed=seed) if sampler is None else sampler
    study = library.create_study(direction="maximize", sampler=chosen)
    for parameters in tried:
        study.enqueue_trial(dict(parameters))
    number = whole("num_points", num_points)
    if number is None:
        raise ModelError("num_points: how many points Optuna shall try is needed")
    return OptunaSearch(study, space, number)


def _require_distributions(space: Space, kind: type) -> None:
    for name, values in space.items() if isinstance(space, Mapping) else ():
        if not isinstance(values, kind):
            raise ModelError(
                f"space: {name!r}: expected a list of values or an Optuna distribution, got {type(values).__name__}"
            )
