"""The fixed part of a run, which is prepared and judged before anything is written or trained."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import pyro
import torch
from pyro.optim import PyroOptim
from torch import nn

from ppl_vae.containers import is_container
from ppl_vae.data import Dataset, Split
from ppl_vae.data.lost_digits import warn_of_covariates, warn_of_lost_digits
from ppl_vae.errors import ModelError
from ppl_vae.files import JsonObject
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.pair.admission import check_data
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.evaluation_mode import evaluation_mode
from ppl_vae.inference.pair.indices import indexed, rows_named
from ppl_vae.inference.pair.labels import check_labels
from ppl_vae.inference.pair.pair import Pair
from ppl_vae.inference.pair.placement import own_dtype
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.stream import batches_of
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.inference.pair.trace import owner
from ppl_vae.inference.training.batches import TrainingData
from ppl_vae.inference.training.code_fingerprint import code_fingerprint
from ppl_vae.inference.training.loader_state import first_batch, kept_states, loader_generators
from ppl_vae.inference.training.manifest import describe_data, describe_device, describe_pair, versions
from ppl_vae.inference.training.pieces import Pieces, named
from ppl_vae.inference.training.ranks import Ranks
from ppl_vae.inference.training.settings import Settings
from ppl_vae.inference.training.training_data import training_data
from ppl_vae.inference.training.weights import require_own_parameters
from ppl_vae.randomness import seeded
from ppl_vae.registration import unregistered

DEFAULT_VALIDATION_FRACTION = 0.1
DEFAULT_BATCH_SIZE = 128


@dataclass(frozen=True)
class Run:
    """The fixed part of a run."""

    pair: Pair
    model: Program
    guide: Program
    data: TrainingData
    settings: Settings
    batch_size: int
    objective: Objective
    device: torch.device
    seed: int
    precision: str
    manifest: JsonObject
    ranks: Ranks | None = None

    def part_size(self) -> int:
        """The most data of a batch that this process takes."""
        return self.batch_size if self.ranks is None else -(-self.batch_size // self.ranks.number)

    def forward_once(self) -> None:
        """One step's forward pass, without a trace in any generator."""
        with isolated(self.seed, self.device), evaluation_mode(self.model, self.guide):
            batch = next(iter(self.data.epoch(1, self.part_size(), self.seed)))
            size = len(batch[0])
            with rows_named(self.model, self.guide, size, size if self.data.x is None else len(self.data.x)):
                terms = self.objective.run(self.model, self.guide, *batch)
        if terms.whole is not None:
            _require_known_total(terms, terms.whole, self.objective.num_total)
            with isolated(self.seed, self.device):
                _require_both_levels(self.objective, terms, terms.whole)
            self.manifest["global_sites"] = list(terms.whole.sites)
            self.manifest["num_total"] = terms.num_total

    def steps(self) -> int | None:
        """The number of optimiser steps in the run; None where the number of the user's own batches is unknown."""
        return number_of_steps(self.data, self.batch_size, self.settings.epochs)

    def total(self, epochs_done: int) -> int | None:
        """The number of data that are still to be stepped over."""
        return None if self.data.x is None else len(self.data.x) * (self.settings.epochs - epochs_done)


def number_of_steps(data: TrainingData, batch_size: int, epochs: int) -> int | None:
    """The number of optimiser steps in a run; None where that of the user's own batches is unknown."""
    if data.x is not None:
        return -(-len(data.x) // batch_size) * epochs
    try:
        return len(data.batches) * epochs  # type: ignore[arg-type]
    except TypeError:
        # A DataLoader over an iterable data set has a __len__ that refuses.
        return None


def prepare(
    pair: Pair, data: object, settings: Settings, device: torch.device, seed: int, precision: str = "float32"
) -> Run:
    """Sort out and judge everything the user gave.

    Raises:
        ModelError: the pair or a setting cannot be used.
        DataError: the data cannot.
    """
    _require_precision(precision, device)
    model, guide = pair.model, pair.guide
    if settings.patience is not None and settings.validation is None:
        settings = replace(settings, validation=DEFAULT_VALIDATION_FRACTION)
    pieces = _pieces(pair, data, seed, device)
    own, pair = pair, pieces.arguments.pair
    training = training_data(data, settings.validation, settings.batch_size, seed, pieces)
    limit = DEFAULT_BATCH_SIZE if training.x is None else len(training.x)
    batch_size = settings.batch_size or min(DEFAULT_BATCH_SIZE, limit)
    # Batches of the user's own have sizes of their own.
    settings = replace(settings, batch_size=None if training.x is None else batch_size)
    settings = settings.over(number_of_steps(training, batch_size, settings.epochs))
    _require_batches(training, batch_size, settings.objective)
    objective = settings.objective
    modules = [m for m in (owner(model), owner(guide), objective) if m is not None]
    for module in modules:
        _place(module, device)
    require_own_parameters(modules)
    first = (
        data[0]
        if isinstance(data, tuple)
        else data.get(pieces.arguments.model.data)
        if isinstance(data, Mapping) and not is_container(data)
        else data
    )
    dtype = own_dtype(model, guide, first)
    warn_of_lost_digits(training.x, dtype, training.labels)
    if training.train is not None:
        warn_of_covariates(training.train[1:], training.names, dtype, training.labels)
    training = training.to(device, dtype)
    described = describe_data(data, training)
    if training.train is None:
        train, described["first_batch_sha256"] = first_batch(training, seed, device)
    else:
        train = training.example() if training.dynamic else training.train
    if training.train is not None and training.dynamic:
        check_labels(model, *training.train[:2])
    for part in (train, training.validation, training.test):
        if isinstance(part, tuple):
            check_data(model, *part)
    manifest = {
        "model": describe_pair(own),
        "data": described,
        "settings": settings.describe(),
        "seed": seed,
        "precision": precision,
        "device": describe_device(device),
        "versions": versions(),
        "code": code_fingerprint(
            model=model, guide=guide, elbo=objective, schedule=settings.factor, optimizer=_own(settings.optimizer)
        ),
    }
    model, guide = pair.model, pair.guide
    if pair.takes_indices:
        _require_rows(training)
        (model, guide), training = indexed(model, guide), replace(training, indexed=True)
    return Run(pair, model, guide, training, settings, batch_size, objective, device, seed, precision, manifest)


def _pieces(pair: Pair, data: object, seed: int, device: torch.device) -> Pieces:
    """The rule by which data become arguments: the names are seen in the data, or in their first batch."""
    arguments = Arguments.of(pair)
    split = data.train if isinstance(data, Dataset) else data
    example = named(split, arguments) if isinstance(split, Split) else split
    is_whole = Pieces(arguments).is_one(data) or isinstance(data, Dataset | Iterator | str)
    if not is_whole and isinstance(data, Iterable) and arguments.may_be_named:
        generators = loader_generators(data)
        with kept_states(generators), seeded(seed, device):
            example = next(batches_of(data), None)
    return Pieces.of(pair, example)


@contextlib.contextmanager
def isolated(seed: int, device: torch.device) -> Iterator[None]:
    """Isolate a run: generators are forked, the parameter store stays clean, and steps are not validated."""
    with seeded(seed, device), unregistered(), pyro.validation_enabled(False):
        yield


def _require_known_total(terms: Terms, whole: Terms, num_total: int | None) -> None:
    """Refuse global sites where nobody knows how many data share their KL."""
    if num_total is None and terms.data_scale == 1:
        raise ModelError(
            f"site {next(iter((*whole.sites, *whole.observations)))!r} is global, and how many data share its KL "
            "is not known of batches of the user's own: give the data in one piece or as a list of batches, or "
            "the data plate its full size, as in pyro.plate('data', total, subsample=x)"
        )


def _require_both_levels(objective: Objective, terms: Terms, whole: Terms) -> None:
    """Refuse an objective whose loss does not move with the divergence of the global sites."""
    heavier = replace(terms, whole=whole.weighted(2.0))
    losses = [copy.deepcopy(objective).forward(each, torch.zeros(())) for each in (terms, heavier)]
    if torch.equal(*losses) and not torch.equal(*(objective.estimator.share(each) for each in (terms, heavier))):
        raise ModelError(
            f"site {next(iter(whole.sites))!r} is global, and {type(objective).__name__} leaves its divergence out "
            "of the loss; add self.estimator.global_loss(terms)"
        )


def _require_batches(data: TrainingData, batch_size: int, objective: Objective) -> None:
    """Refuse an objective on batches that would be too small for it, before the first of them is met."""
    smallest = batch_size if data.x is None else min(len(data.x) % batch_size or batch_size, batch_size)
    if smallest < objective.least_batch:
        raise ModelError(
            f"{type(objective).__name__} needs batches of at least {objective.least_batch} data, but with "
            f"batch_size {batch_size} one batch has {smallest}; choose another batch_size"
        )


def require_used(given: Mapping[str, object], run: Run) -> None:
    """Refuse an argument that would be ignored.

    Raises:
        ModelError: it is named.
    """
    if given["batch_size"] is not None and run.data.x is None:
        raise ModelError(
            f"batch_size={given['batch_size']} would be ignored: the data come in batches of their own"
        )


def _require_rows(data: TrainingData) -> None:
    """Refuse programs that take the indices of their data where there are none, or other data."""
    if data.x is None:
        raise ModelError("programs that take `indices` need data in one piece, not batches of the user's own")
    if data.validation is not None or data.test is not None:
        raise ModelError(
            "programs that take `indices` keep something for each training datum, which held-out data do not have: "
            "fit them without validation and on the training data alone"
        )


def _require_precision(precision: str, device: torch.device) -> None:
    if precision not in ("float32", "bf16"):
        raise ModelError(f"precision must be 'float32' or 'bf16', got {precision!r}")
    if precision == "bf16" and device.type != "cuda":
        raise ModelError(f"precision 'bf16' is for CUDA devices; on {device.type} train in 'float32'")


def _own(optimizer: object) -> object:
    """The object to fingerprint: Pyro's wrapper keeps the optimisers it made, so its arguments stand for it."""
    return None if isinstance(optimizer, PyroOptim) else optimizer


def _place(module: nn.Module, device: torch.device) -> None:
    """Move a module; convolutions are faster where weights, and so the images they make, are channels-last."""
    module.to(device)
    if any(isinstance(part, nn.Conv2d | nn.ConvTranspose2d) for part in module.modules()):
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
