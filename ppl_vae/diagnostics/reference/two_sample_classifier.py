r"""The classifier two-sample test (C2ST) of many pairs of sets of draws at once.

The accuracy with which a classifier tells two sets apart, on draws that it was not fitted to (Lopez-Paz & Oquab
2017, https://arxiv.org/abs/1610.06545): 0.5 where they are of one distribution, and Phi(Delta / 2) at best for two
Gaussians of one covariance whose means are Delta standard deviations apart. Every pair of sets and every fold of
the cross-validation has a network of its own, with one hidden layer; all are fitted together, with as many matrix
products as one would take. A network is taken as it was when a tenth of the draws, kept aside, were told apart
best.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from ppl_vae.randomness import seeded

STEPS, RATE, WEIGHT_DECAY, LOOK_EVERY = 60, 0.05, 1e-3, 4
HELD_ASIDE = 10


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
    logits = _fit(network, x, label, fitted.to(x), aside.to(x))
    right = ((logits > 0) == (label > 0)) & test & valid[:, None]
    count = 2 * sizes.to(torch.float64)
    accuracy = right.sum((1, 2)) / count
    spread = (accuracy * (1 - accuracy)).maximum(0.25 / count)
    return accuracy, (spread / count).sqrt()


class _Networks:
    """Networks of one hidden layer for every pair of sets and fold: logits [N, F, 2n]."""

    def __init__(self, num_sets: int, folds: int, dim: int, like: Tensor) -> None:
        width = max(20, 4 * dim)
        sizes = (dim, width, 1)
        self.shape = (num_sets, folds)
        self.weights = [
            (torch.rand(num_sets * folds, m, n, dtype=like.dtype, device=like.device) * 2 - 1)
            * math.sqrt(6 / (m + n))
            for m, n in itertools.pairwise(sizes)
        ]
        self.biases = [like.new_zeros(num_sets * folds, 1, n) for n in sizes[1:]]
        for leaf in self.leaves:
            leaf.requires_grad_()

    @property
    def leaves(self) -> list[Tensor]:
        return [*self.weights, *self.biases]

    def __call__(self, x: Tensor) -> Tensor:
        hidden = x.repeat_interleave(self.shape[1], 0)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden if index == 0 else hidden.relu(), weight)
        return hidden.reshape(*self.shape, -1)


def _standardised(a: Tensor, b: Tensor, sizes: Tensor) -> Tensor:
    """Both sets [N, 2n, d], by mean and standard deviation of the draws of b that count."""
    share = (torch.arange(b.shape[1], device=b.device) < sizes[:, None]).to(b).unsqueeze(-1)
    share = share / sizes.to(b).reshape(-1, 1, 1)
    mean = (share * b).sum(1, keepdim=True)
    scale = (share * (b - mean).square()).sum(1, keepdim=True).sqrt()
    return (torch.cat([a, b], 1) - mean) / torch.where(scale > 0, scale, 1.0)


def _fit(network: _Networks, x: Tensor, label: Tensor, fitted: Tensor, aside: Tensor) -> Tensor:
    """Fit all networks on their ``fitted`` draws; the logits [N, F, 2n] of each at its best on those ``aside``."""
    optimizer = torch.optim.Adam(network.leaves, lr=RATE, weight_decay=WEIGHT_DECAY)
    target, count = label.expand_as(fitted), fitted.sum(-1)
    best = torch.zeros_like(fitted)
    least = torch.full_like(count, torch.inf)
    for step in range(STEPS + 1):
        with torch.enable_grad():
            logits = network(x)
            losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
            loss = ((losses * fitted).sum(-1) / count).sum()
        if step % LOOK_EVERY == 0:
            with torch.no_grad():
                loss_aside = (losses * aside).sum(-1)
                better = loss_aside < least
                least = torch.where(better, loss_aside, least)
                best = torch.where(better.unsqueeze(-1), logits, best)
        if step < STEPS:
            for leaf, slope in zip(network.leaves, torch.autograd.grad(loss, network.leaves), strict=True):
                leaf.grad = slope
            optimizer.step()
    return best
