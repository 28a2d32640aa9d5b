"""The judgement of a trial: the plain ELBO or the evidence of data that no trial is trained on, per datum."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from ppl_vae.arrays import to_tensor
from ppl_vae.containers import Data, dense
from ppl_vae.containers import opened as opened_container
from ppl_vae.data import Dataset, Split, binarize, load_dataset
from ppl_vae.data.split import split_by_datum, take_rows
from ppl_vae.errors import DataError, ModelError, first_line
from ppl_vae.inference import evaluate, log_evidence
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.pair import PairLike, as_pair
from ppl_vae.inference.training.pieces import named
from ppl_vae.randomness import derived_seed

JUDGED_STREAM, BINARIZED_STREAM = 71, 72
# The names of x and of labels in a dict of named arrays.
DATA, LABELS = "x", "y"
SweepData: TypeAlias = Dataset | Split | Data
By: TypeAlias = Literal["elbo", "log_evidence"]
NAMES = ("elbo", "log_evidence")


@dataclass(frozen=True)
class Judge:
    """The rule by which all trials of a sweep are judged.

    Attributes:
        by: "elbo", un-weighted whatever trains, or "log_evidence", the importance bound.
        held_out: the fraction of the training data that is kept from training for it.
        num_draws: per datum.
        seed: of the split and the draws, the same for all trials.

    Raises:
        ModelError: ``by`` is neither, or the fraction is none.
    """

    by: By = "elbo"
    held_out: float = 0.1
    num_draws: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in NAMES:
            raise ModelError(f"judge must be 'elbo' or 'log_evidence', got {self.by!r}")
        if not 0 < self.held_out < 1:
            raise ModelError(f"held_out must be a fraction between 0 and 1, got {self.held_out}")

    def parts(self, data: object) -> tuple[Dataset | Split, Split]:
        """The data that are trained on and those that are judged, the same in every trial.

        Raises:
            DataError: the data are none that a sweep takes, or too few.
        """
        data = opened(data)
        whole = data.train if isinstance(data, Dataset) else data
        size = max(2, round(self.held_out * len(whole)))
        if size >= len(whole):
            raise DataError(f"held_out={self.held_out} of {len(whole)} data leaves none to train on")
        generator = torch.Generator().manual_seed(derived_seed(self.seed, JUDGED_STREAM))
        order = torch.randperm(len(whole), generator=generator)
        judged, trained = split_by_datum(whole.x, order, size, whole.copy_of)
        held = take_rows(whole, judged)
        if not isinstance(data, Dataset):
            return take_rows(whole, trained), held
        if data.binarization == "dynamic":
            generator = torch.Generator().manual_seed(derived_seed(self.seed, BINARIZED_STREAM))
            held = Split(binarize(held.x, "stochastic", generator=generator), held.y, covariates=held.covariates)
        # The test split stays out of the trials: not even their histories look at it.
        trained_part = take_rows(whole, trained)
        notes = (*data.notes, f"without {len(held)} data that judge the trials of a sweep")
        return replace(data, train=trained_part, test=held, notes=notes), held

    def __call__(self, pair: PairLike, held: Split, num_trained: int | None = None) -> Tensor:
        """The judged quantity of every datum: [N], nats; the KL of global sites is shared by the trained data."""
        given = named(held, Arguments.of(as_pair(pair)))
        if self.by == "elbo":
            evaluation = evaluate(pair, given, num_particles=self.num_draws, num_total=num_trained, seed=self.seed)
            return evaluation.elbo.detach().cpu().double()
        found = log_evidence(pair, given, num_samples=self.num_draws, seed=self.seed, progress=False)
        return found.per_datum.detach().cpu().double()


def opened(data: object) -> Dataset | Split:
    """Data as a sweep takes them: loaded by name or path where they are told so, sparse ones made dense.

    Raises:
        DataError: they are no data set, no split and none in one piece; it is said what they are.
    """
    if isinstance(data, str | os.PathLike):
        data = load_dataset(data)
    if isinstance(data, Dataset | Split):
        return data
    found = opened_container(data)
    whole = found.x if found.by_name is None else found.by_name
    try:
        if isinstance(whole, tuple):
            whole = dict(zip((DATA, LABELS), whole, strict=True))
        given = whole if isinstance(whole, Mapping) else {DATA: whole}
        numbers = {name: _tensor(values) for name, values in given.items()}
        return Split(numbers.pop(DATA), numbers.pop(LABELS, None), covariates=numbers, names=found.labels.rows)
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(
            "data of a sweep: expected a Dataset, a Split, data in one piece such as an array or a frame, (x, y), "
            f"a dict of arrays of which one is {DATA!r}, or a name ({first_line(error)})"
        ) from None


def _tensor(values: object) -> Tensor:
    inner = opened_container(values).x
    return to_tensor(dense(inner)).detach()
