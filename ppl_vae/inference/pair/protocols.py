"""The attributes that a pair and its programs may have besides being callable, each declared with its default.

Any callable is a program, and any object with two of them is a pair: nothing here has to be inherited. ``traits``
reads what a program declares; the protocols name the methods that a pair may have of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from ppl_vae.containers import CoordinateNames, Table
from ppl_vae.declared import declared

Program = Callable[..., Any]


@dataclass(frozen=True)
class Traits:
    """The optional attributes of a program, by their names there.

    Attributes:
        covariates: the names of what it takes beside x, in the order of its arguments; empty where its signature
            says so.
        takes_labels: it is called as model(x, y), and so is its guide.
        allows_missing_labels: some of y may be -1, and the model may be asked about x alone.
        num_classes: labels are 0, ..., num_classes - 1; None where the program does not say.
        allows_missing: NaN in x stands for a missing coordinate.
        check_data: a method that refuses data [N, *event_shape] which its likelihood has no density for.
        check_covariates: a method that refuses covariates (c1, ..., cm) by their values.
        require_observed: a method that refuses NaN in x where the likelihood knows no missing coordinates.
        sees_missing: of a guide, whether it is told which coordinates are missing.
        table: of a model of a table's columns, what turns a frame into data.
        group_plates: the names of a model's plates that are not the data's, which else cannot be told from one as
            long as the data.
    """

    covariates: tuple[str, ...] = ()
    takes_labels: bool = False
    allows_missing_labels: bool = False
    num_classes: int | None = None
    allows_missing: bool = False
    check_data: Callable[[Tensor], None] | None = None
    check_covariates: Callable[..., None] | None = None
    require_observed: Callable[[Tensor], None] | None = None
    sees_missing: bool = True
    table: Table | None = None
    group_plates: frozenset[str] = frozenset()


def traits(program: Program) -> Traits:
    """The traits that a program declares, and the defaults of those that it does not."""
    return declared(Traits, program)


@dataclass(frozen=True)
class Density:
    """The optional attributes of a distribution at a latent site.

    Attributes:
        is_point: it is a point mass, which has no density.
    """

    is_point: bool = False


@runtime_checkable
class TellsLabels(Protocol):
    """The distribution of a category in a guide that tells which labels are known.

    Attributes:
        known: 1 where there is a label, else 0: [*batch].
        label_log_prob: the log probability that the classifier gives to the label, 0 where it is missing: [*batch].
    """

    known: Tensor
    label_log_prob: Tensor


class HasPrograms(Protocol):
    """An object with a generative model and its guide, as every VAE is."""

    @property
    def model(self) -> Program:
        """The generative program."""

    @property
    def guide(self) -> Program:
        """Its guide."""


class HasPair(Protocol):
    """An object that holds a pair, as a Recipe does."""

    @property
    def vae(self) -> object:
        """The pair."""


@runtime_checkable
class HasEvidence(Protocol):
    """A pair whose log p(x) is known exactly."""

    def log_evidence(self, x: Tensor, *labels: Tensor) -> Tensor:
        """log p(x) of every datum: [N], nats."""


@runtime_checkable
class HasBounds(HasEvidence, Protocol):
    """A pair whose ELBO under the present guide is known exactly too."""

    def elbo(self, x: Tensor) -> Tensor:
        """The ELBO of every datum: [N], nats, with gradients.

        Raises:
            ModelError: the present guide has none in closed form.
        """


@runtime_checkable
class HasParameterGroups(Protocol):
    """A pair that sorts its parameters into groups."""

    def parameter_groups(self) -> Mapping[str, Sequence[nn.Parameter]]:
        """The parameters by the name of their group."""


@runtime_checkable
class Startable(Protocol):
    """A pair that looks at its data before it is trained for the first time."""

    def start_untrained(self, x: Tensor) -> None:
        """Set weights that nobody has trained from data [N, *event_shape]."""


@runtime_checkable
class StartsFromCovariates(Protocol):
    """A pair that looks at the covariates of its data before it is trained for the first time."""

    def start_covariates(self, *covariates: Tensor) -> None:
        """Take what it needs to know of their scales, from covariates [N, ...]."""


@runtime_checkable
class KeepsCoordinateNames(Protocol):
    """A generative program that keeps the names of the coordinates that it was trained on, as on disk.

    Attributes:
        coordinate_names: by argument, "" for x, the names along each event dimension; empty where there are none.
    """

    coordinate_names: CoordinateNames


@runtime_checkable
class Storable(Protocol):
    """A pair that writes itself into a folder."""

    def save(self, path: str | Path) -> None:
        """Write it."""


@runtime_checkable
class Configured(Protocol):
    """A pair that says what makes it again."""

    config: object
