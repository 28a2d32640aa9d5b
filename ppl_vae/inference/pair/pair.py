"""A (model, guide) pair as one value, and the one door through which everything that is a pair comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ppl_vae.declared import declared
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.indices import takes_indices
from ppl_vae.inference.pair.labels import needs_labels, takes_labels
from ppl_vae.inference.pair.placement import beside, own_dtype, parameter_of
from ppl_vae.inference.pair.protocols import HasPair, HasPrograms, Program
from ppl_vae.inference.pair.trace import owner


@dataclass(frozen=True, eq=False)
class Pair:
    """A generative program and its guide.

    Attributes:
        model: the generative program.
        guide: its guide.
        source: the object that the user gave, such as a VAE; the tuple of the two programs where there is none.
    """

    model: Program
    guide: Program
    source: object = None

    def __post_init__(self) -> None:
        for program in (self.model, self.guide):
            if not callable(program):
                raise ModelError(f"expected two programs, got {type(program).__name__}")
        if self.source is None:
            object.__setattr__(self, "source", (self.model, self.guide))

    @property
    def device(self) -> torch.device | None:
        """The device of the parameters at present; None where no module holds any."""
        like = parameter_of(self.model, self.guide)
        return None if like is None else like.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision that data take: the parameters', else torch's default."""
        return own_dtype(self.model, self.guide, None)

    @property
    def takes_labels(self) -> bool:
        """Tell whether the programs are called as model(x, y) and guide(x, y)."""
        return takes_labels(self.model)

    @property
    def needs_labels(self) -> bool:
        """Tell whether they take labels of which none may be missing."""
        return needs_labels(self.model)

    @property
    def takes_indices(self) -> bool:
        """Tell whether one of them takes the rows of its data in an argument ``indices``."""
        return takes_indices(self.model) or takes_indices(self.guide)

    def place(self, x: object) -> Tensor:
        """x as a tensor where the parameters are, in their precision; data are no parameter, whoever made them.

        Raises:
            DataError: x is no array of numbers.
        """
        placed = beside(self.model, x, self.guide)
        return placed.detach() if isinstance(placed, Tensor) else placed


PairLike: TypeAlias = Pair | HasPrograms | HasPair | tuple[Program, Program]


def as_pair(pair: PairLike) -> Pair:
    """The pair in a Pair, a VAE, a Recipe, an object with ``.model`` and ``.guide``, or a tuple of two programs.

    Raises:
        ModelError: it is none of these.
    """
    found = _pair_in(pair)
    if found is None:
        raise ModelError(
            f"expected an object with .model and .guide, or a tuple (model, guide), got {type(pair).__name__}"
        )
    _require_ordinary(found.source, found.model, found.guide)
    return found


def as_model(model: Program | PairLike) -> Program:
    """The generative program of a pair, or the program itself."""
    found = _pair_in(model)
    if found is not None:
        return found.model
    if not callable(model):
        raise ModelError(f"expected a generative program or a pair, got {type(model).__name__}")
    return model


def called_with(
    given: tuple[object, ...], named: Mapping[str, object]
) -> tuple[Pair, object, tuple[object, ...], dict[str, object]]:
    """The arguments of a function of (pair, x, ...) that takes (model, guide, x, ...) too.

    Args:
        given: by position.
        named: by name.

    Returns:
        The pair, x, and the further arguments of its programs by position and by name.

    Raises:
        ModelError: it is no pair.
        TypeError: an argument is missing; it is named.
    """
    by_programs = "model" in named or callable(given[1] if len(given) > 1 else named.get("guide"))
    names = ("model", "guide", "x") if by_programs else ("pair", "x")
    found, further = dict(zip(names, given, strict=False)), dict(named)
    for name in names:
        if name not in found and name not in further:
            raise TypeError(f"missing argument: {name!r}")
        if name not in found:
            found[name] = further.pop(name)
    pair = (
        Pair(cast(Program, found["model"]), cast(Program, found["guide"]))
        if by_programs
        else as_pair(cast(PairLike, found["pair"]))
    )
    if by_programs:
        _require_ordinary(pair.model, pair.guide)
    return pair, found["x"], given[len(names) :], further


@dataclass(frozen=True)
class Holding:
    """The attributes by which an object is known to hold a pair.

    Attributes:
        model: the generative program.
        guide: its guide.
        vae: the object that holds the two, as in a Recipe.
    """

    model: Program | None = None
    guide: Program | None = None
    vae: object = None


def _pair_in(given: object) -> Pair | None:
    if isinstance(given, Pair):
        return given
    if isinstance(given, tuple):
        return Pair(*given, source=given) if len(given) == 2 and all(map(callable, given)) else None
    # Modules keep their parts out of sight of a static look, so that no isinstance of a protocol sees them.
    parts = declared(Holding, given)
    if callable(parts.model) and callable(parts.guide):
        return Pair(parts.model, parts.guide, given)
    return None if parts.vae is None or parts.vae is given else _pair_in(parts.vae)


def _require_made(module: nn.Module) -> None:
    """Refuse a lazy module before its first call, whose parameters have no shape.

    Raises:
        ModelError: there is one; it is named.
    """
    lazy = next((name for name, tensor in module.named_parameters() if is_lazy(tensor)), None)
    if lazy is not None:
        name = lazy.rpartition(".")[0]
        kind = type(module.get_submodule(name)).__name__
        raise ModelError(
            f"{kind} {name!r} of {type(module).__name__} has no parameters before its first call: call model "
            "and guide once on a few data first, or give the layer its input size"
        )


def _require_ordinary(*parts: object) -> None:
    """Refuse parameters that a lazy module has not made yet, and those made in an inference mode that is over."""
    for part in parts:
        module = owner(part) if callable(part) else None
        if module is not None:
            _require_made(module)
        if torch.is_inference_mode_enabled() or module is None:
            continue
        if any(tensor.is_inference() for tensor in module.parameters()):
            raise ModelError(
                f"the parameters of {type(module).__name__} were made in torch.inference_mode() and cannot be used "
                "outside of it; make or load the model outside"
            )
