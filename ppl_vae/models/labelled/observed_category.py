"""The posterior of a category that is known for some data and missing for others."""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.models.labelled.category import indicator

MISSING = -1
# The log probability of every other category where one is known: finite, and exp of it is 0 in every precision.
IMPOSSIBLE = -1e4


class PartlyObservedCategory(dist.OneHotCategorical):
    """The one-hot posterior q(y|x): Categorical(softmax(logits)) where y is missing, else a point mass.

    Against p(y) a known category has the divergence -log p(y), which is what its observation takes from a bound,
    and no gradient reaches the logits. ``label_log_prob`` is the classifier's own score of that category, for
    objectives that train the logits.

    Args:
        logits: of the classifier [*batch, C].
        labels: integers 0, ..., C - 1, or -1 for a missing one [*batch].

    Attributes:
        known: whether there is a label, as 0 or 1 in the precision of the logits: [*batch].
        label_log_prob: the log probability that the classifier gives to the label, 0 where it is missing: [*batch],
            nats.
    """

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        label, known = indicator(labels, logits.shape[-1], logits), labels != MISSING
        super().__init__(logits=torch.where(known.unsqueeze(-1), (1 - label) * IMPOSSIBLE, logits))
        self.known = known.to(logits)
        self.label_log_prob = (label * logits.log_softmax(-1)).sum(-1)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> PartlyObservedCategory:
        """Repeat the distribution for more particles; ``known`` and ``label_log_prob`` stay one per datum."""
        new = self._get_checked_instance(PartlyObservedCategory, _instance)
        super().expand(batch_shape, _instance=new)
        new.known, new.label_log_prob = self.known, self.label_log_prob
        return new
