r"""The classifier two-sample test (C2ST) of many pairs of sets of draws at once.

The accuracy with which a classifier tells two sets apart, on draws that it was not fitted to (Lopez-Paz & Oquab
2017, https://arxiv.org/abs/1610.06545): 0.5 where they are of one distribution, and Phi(Delta / 2) at best for two
Gaussians of one covariance whose means are Delta standard deviations apart. Every pair of sets and every fold of
the cross-validation has a network of its own, with one hidden layer; all are fitted together, with as many matrix
products as one would take. A network is taken as it was when a tenth of the draws, kept aside, were told apart
best.
"""

from __future__ import annotations

import copy
import itertools
import math

import torch
from torch import Tensor

from ppl_vae.randomness import seeded
from ppl_vae.unloaded import adam, adam_step

STEPS, RATE, WEIGHT_DECAY, LOOK_EVERY = 60, 0.05, 1e-3, 4
HELD_ASIDE = 10
HIDDEN_AT_ONCE = 1 << 19


def classifier_accuracies(
    a: Tensor, b: Tensor, sizes: Tensor, folds: int = 5, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Find how often a classifier tells each two sets apart, and the standard error of it: [N] each.

    Args:
        a: draws of one kind [N, n, d].
        b: of the other [N, n, d], whose standard deviation is the unit of each coordinate.
        sizes: how many of the n draws of either count, for every pair of sets [N]; from the front.
        folds: of the cross-validation.
        seed: of the folds and of the networks.
    """
    num_sets, size, _ = a.shape
    with seeded(seed, a.device):
        x, label = _standardised(a, b, sizes), torch.arange(2, device=a.device).repeat_interleave(size).to(a)
        order = torch.rand(num_sets, size, device=a.device).argsort(1).repeat(1, 2)
        valid = (torch.arange(size, device=a.device) < sizes[:, None]).repeat(1, 2)
        network = _Networks(num_sets, folds, x.shape[-1], x)
    test = order[:, None] % folds == torch.arange(folds, device=a.device)[:, None]
    aside = ~test & (order[:, None] // folds % HELD_ASIDE == 0) & valid[:, None]
    fitted = ~test & ~aside & valid[:, None]
    # Of few sets the hidden units stay in a processor's cache; no network knows of another.
    at_once = max(1, HIDDEN_AT_ONCE // (2 * size * folds * network.width))
    parts = [slice(first, min(first + at_once, num_sets)) for first in range(0, num_sets, at_once)]
    logits = torch.cat([_fit(network.of_sets(p), x[p], label, fitted[p].to(x), aside[p].to(x)) for p in parts])
    right = ((logits > 0) == (label > 0)) & test & valid[:, None]
    count = 2 * sizes.to(torch.float64)
    accuracy = right.sum((1, 2)) / count
    spread = (accuracy * (1 - accuracy)).maximum(0.25 / count)
    return accuracy, (spread / count).sqrt()


class _Networks:
    """Networks of one hidden layer for every pair of sets and fold: logits [N, F, 2n]."""

    def __init__(self, num_sets: int, folds: int, dim: int, like: Tensor) -> None:
        self.width = max(20, 4 * dim)
        sizes = (dim, self.width, 1)
        self.shape = (num_sets, folds)
        self.weights = [
            (torch.rand(num_sets * folds, m, n, dtype=like.dtype, device=like.device) * 2 - 1)
            * math.sqrt(6 / (m + n))
            for m, n in itertools.pairwise(sizes)
        ]
        self.biases = [like.new_zeros(num_sets * folds, 1, n) for n in sizes[1:]]

    def of_sets(self, which: slice) -> _Networks:
        """Take the networks of some pairs of sets, to be fitted."""
        part, folds = copy.copy(self), self.shape[1]
        part.shape = (which.stop - which.start, folds)
        rows = slice(which.start * folds, which.stop * folds)
        part.weights, part.biases = [w[rows] for w in self.weights], [b[rows] for b in self.biases]
        return part

    @property
    def leaves(self) -> list[Tensor]:
        """Everything that is fitted."""
        return [*self.weights, *self.biases]

    def __call__(self, x: Tensor) -> Tensor:
        return self.logits_of(self.hidden(x))

    def hidden(self, x: Tensor) -> Tensor:
        """The hidden units [N * F, 2n, width] at draws [N, 2n, d]."""
        return torch.baddbmm(self.biases[0], x, self.weights[0]).relu_()

    def logits_of(self, hidden: Tensor) -> Tensor:
        """The logits [N * F, 2n] of hidden units."""
        return (hidden * self.weights[1].mT).sum(-1) + self.biases[1].squeeze(-1)

    def slopes(self, x: Tensor, hidden: Tensor, by_logit: Tensor) -> list[Tensor]:
        """The gradient of a loss by each of ``leaves``, from that by the logits [N * F, 2n].

        The hidden units are used up. Written out, since products with matrices of one column take most of
        autograd's time.
        """
        each = by_logit.unsqueeze(-1)
        by_weight = (hidden * each).sum(1).unsqueeze(-1)
        back = hidden.sign_().mul_(each).mul_(self.weights[1].mT)
        return [torch.bmm(x.mT, back), by_weight, back.sum(1, keepdim=True), each.sum(1, keepdim=True)]


def _standardised(a: Tensor, b: Tensor, sizes: Tensor) -> Tensor:
    """Both sets [N, 2n, d], by mean and standard deviation of the draws of b that count."""
    share = (torch.arange(b.shape[1], device=b.device) < sizes[:, None]).to(b).unsqueeze(-1)
    share = share / sizes.to(b).reshape(-1, 1, 1)
    mean = (share * b).sum(1, keepdim=True)
    scale = (share * (b - mean).square()).sum(1, keepdim=True).sqrt()
    return (torch.cat([a, b], 1) - mean) / torch.where(scale > 0, scale, 1.0)


def _fit(network: _Networks, x: Tensor, label: Tensor, fitted: Tensor, aside: Tensor) -> Tensor:
    """Fit all networks on their ``fitted`` draws; the logits [N, F, 2n] of each at its best on those ``aside``."""
    optimizer = adam(network.leaves, lr=RATE, weight_decay=WEIGHT_DECAY)
    shape, x = fitted.shape, x.repeat_interleave(fitted.shape[1], 0)
    share, aside = (fitted / fitted.sum(-1, keepdim=True)).flatten(0, 1), aside.flatten(0, 1)
    best = torch.zeros_like(share)
    least = torch.full_like(share[:, 0], torch.inf)
    for step in range(STEPS + 1):
        hidden = network.hidden(x)
        logits = network.logits_of(hidden)
        if step % LOOK_EVERY == 0:
            losses = torch.nn.functional.softplus(torch.where(label > 0, -logits, logits))
            loss_aside = (losses * aside).sum(-1)
            better = loss_aside < least
            least = torch.where(better, loss_aside, least)
            best = torch.where(better.unsqueeze(-1), logits, best)
        if step < STEPS:
            slopes = network.slopes(x, hidden, (logits.sigmoid() - label) * share)
            for leaf, slope in zip(network.leaves, slopes, strict=True):
                leaf.grad = slope
            adam_step(optimizer)
    return best.reshape(shape)
