r"""Steps that several ranks take together: each on its part of every batch, with one gradient for all.

A batch of B data is cut into one part a rank, of sizes n_r that differ by at most one and may be 0. The loss being
a mean over data, loss and gradient of the whole batch are

    g = sum_r n_r g_r / sum_r n_r

so that W ranks take the steps of one process with the same batches, up to rounding and to the draws, of which each
rank has a stream of its own. Li et al. (2020) describe the scheme; torch's
DistributedDataParallel weighs all ranks alike, which parts of different sizes do not allow.

Li et al. (2020): https://arxiv.org/abs/2006.15704
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.compilation.steppers import TracedStepper
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.stream import in_own_stream
from ppl_vae.inference.training.batches import IndexedBatches
from ppl_vae.inference.training.rank_sums import Sums, common_dtype
from ppl_vae.inference.training.ranks import Ranks, words
from ppl_vae.inference.training.steps import GLOBAL_TERMS, STEP_TERMS, Stepper
from ppl_vae.randomness import derived_seed

# The streams of a rank's draws, by epoch, and of what the user's own batches draw, which is the same on all ranks.
RANK_STREAM, BATCHES_STREAM = 31, 32
WIDTH = len(STEP_TERMS) + len(GLOBAL_TERMS)
ENDED, FAILED = -1.0, -2.0


@dataclass(frozen=True)
class RankStepper:
    """Takes the steps of this rank.

    Attributes:
        steps: gives the gradient of a part, eagerly or captured.
        ranks: whose gradients are put together.
        seed: of the run.
        sums: adds up gradients.
    """

    steps: Stepper | TracedStepper
    ranks: Ranks
    seed: int
    sums: Sums

    @property
    def parameters(self) -> Sequence[Tensor]:
        """The trainable leaves."""
        return self.steps.parameters

    @property
    def eager(self) -> Stepper:
        """The step that is taken once the gradient is known."""
        return self.steps.eager if isinstance(self.steps, TracedStepper) else self.steps

    def close(self) -> None:
        """Give back what connects this rank with others."""
        self.sums.close()

    def epoch(self, batches: Iterable[Batch], first_step: int) -> Iterator[tuple[list[int], Tensor]]:
        """Take a step on every batch of all ranks; sizes and terms are those of the whole batches."""
        seed = derived_seed(self.seed, BATCHES_STREAM, first_step)
        parts = (
            _of_indices(batches, self.ranks) if isinstance(batches, IndexedBatches) else self._own(batches, seed)
        )
        for step, (part, total) in enumerate(parts, start=first_step):
            yield [total], self._take(part, total, step).unsqueeze(0)

    def _take(self, part: Batch, total: int, step: int) -> Tensor:
        """Take a step with this rank's part of a batch of ``total`` data: the terms of the whole."""
        leaves, size = self.parameters, len(part[0])
        failure: Exception | None = None
        found: Sequence[Tensor | None] = []
        if size:
            try:
                found = self._gradients(part, step)
            except Exception as error:
                failure = error
        row, *gradients = found or [None] * (1 + len(leaves))
        row = torch.zeros(0) if row is None else row
        head = [size, failure is not None, size * (len(row) == WIDTH), *(size * (g is not None) for g in gradients)]
        short, mean = self.sums.add(_short(head, row, size, leaves), gradients, size / total)
        _, failed, of_set, *present = short[: len(head)].tolist()
        if failed:
            said = self.ranks.texts("" if failure is None else words(failure))
            if failure is not None:
                raise failure
            self.ranks.require_fine([text or None for text in said])
        whole = [g.to(leaf.dtype) if there else None for g, there, leaf in zip(mean, present, leaves, strict=True)]
        self.eager.descend(whole, step)
        terms = short[len(head) :] / total
        return terms[: WIDTH if of_set else len(STEP_TERMS)]

    def _gradients(self, part: Batch, step: int) -> list[Tensor | None]:
        number, count = torch.full((), step, device=part[0].device), len(self.parameters)
        steps = self.steps
        given = (
            steps.gradients(part, number)
            if isinstance(steps, TracedStepper)
            else steps.gradients(part, number, steps.late)
        )
        if len(self.parameters) != count:
            raise ModelError("a pyro.param first appears after some steps; ranks must know all from the first")
        return list(given)

    def _own(self, batches: Iterable[Batch], seed: int) -> Iterator[tuple[Batch, int]]:
        """This rank's part of the user's own batches, which every rank iterates and of which all must be the same.

        Beside each part the size of the whole batch.

        Raises:
            DataError: another rank sees another batch, or another number of them.
            RankError: they failed on another rank.
        """
        iterator, number = in_own_stream(batches, seed), 0
        while True:
            failure = None
            try:
                batch = next(iterator, None)
                state = [ENDED, 0.0] if batch is None else [float(len(batch[0])), _checksum(batch)]
            except Exception as error:
                failure, state, batch = error, [FAILED, 0.0], None
            seen = self.ranks.gather(torch.tensor(state, dtype=torch.float64))
            if (seen[:, 0] == FAILED).any():
                said = self.ranks.texts("" if failure is None else words(failure))
                if failure is not None:
                    raise failure
                self.ranks.require_fine([text or None for text in said])
            if (seen != seen[0]).any():
                raise DataError(
                    f"the ranks see different batches (batch {number} of this epoch): fit itself gives every rank "
                    "its part of a batch, so let the batches be the same on all ranks: without a "
                    "DistributedSampler, and with random numbers of one seed"
                )
            if batch is None:
                return
            yield _part(batch, self.ranks), len(batch[0])
            number += 1


def require_parts(objective: Objective, modules: Iterable[nn.Module]) -> None:
    """Refuse what would be something else on parts of a batch than on the whole.

    Raises:
        ModelError: the objective, or the layer, is named.
    """
    if not objective.mean_over_data:
        raise ModelError(
            f"{type(objective).__name__} looks at a batch as a whole, so that its loss is not the mean of the "
            "losses of the parts that ranks take: train it in one process (an objective of your own whose loss is "
            "a mean over data says so by the attribute mean_over_data = True)"
        )
    for module in modules:
        for name, part in module.named_modules():
            if (
                isinstance(part, nn.modules.batchnorm._BatchNorm)
                and part.training
                and not isinstance(part, nn.SyncBatchNorm)
            ):
                raise ModelError(
                    f"{type(part).__name__} {name!r} normalises by the data of a batch, of which a rank sees "
                    "its part alone: train it in one process, or choose another layer, such as nn.LayerNorm"
                )


def require_same_buffers(ranks: Ranks, buffers: Iterable[Tensor]) -> None:
    """Refuse a pair that keeps something of the batches it saw, which ranks see parts of.

    Raises:
        ModelError: the buffers differ between the ranks.
    """
    own = torch.tensor([_sum(buffer) for buffer in buffers], dtype=torch.float64)
    found = ranks.gather(own) if len(own) else own
    if not torch.equal(found.nan_to_num(), found[:1].expand_as(found).nan_to_num()):
        raise ModelError(
            "the pair keeps buffers that move with the batches, such as a codebook, and they differ between the "
            "ranks: train it in one process"
        )


def own_batches(ranks: Ranks, batches: Iterable[Batch]) -> Iterable[Batch]:
    """The parts of this rank that are not empty; batches of the user's own as they are."""
    if not isinstance(batches, IndexedBatches):
        return batches
    parts = [indices.tensor_split(ranks.number)[ranks.own] for indices in batches.indices]
    return IndexedBatches(batches.data, batches.x, tuple(part for part in parts if len(part)))


def _of_indices(batches: IndexedBatches, ranks: Ranks) -> Iterator[tuple[Batch, int]]:
    for indices in batches.indices:
        yield batches.data.batch(batches.x, indices.tensor_split(ranks.number)[ranks.own]), len(indices)


def _part(batch: Batch, ranks: Ranks) -> Batch:
    return tuple(part.tensor_split(ranks.number)[ranks.own] for part in batch)


def _checksum(batch: Batch) -> float:
    """A number that differs where batches do, in their order as well."""
    first = batch[0].detach().double().cpu().flatten(1)
    places = torch.arange(1, len(first) + 1, dtype=torch.float64)
    return float((first.sum(1) * places).nan_to_num().sum())


def _short(head: Sequence[float], row: Tensor, size: int, leaves: Sequence[Tensor]) -> Tensor:
    """One vector of what is added up beside the gradients: the head, and the terms times the size."""
    dtype, device = common_dtype(leaves), leaves[0].device
    terms = torch.zeros(WIDTH, dtype=dtype, device=device)
    terms[: len(row)] = row.to(device, dtype) * size
    return torch.cat([torch.tensor(head, dtype=dtype, device=device), terms])


def _sum(buffer: Tensor) -> float:
    return float(buffer.detach().double().sum()) if not buffer.is_complex() else float(buffer.abs().double().sum())
