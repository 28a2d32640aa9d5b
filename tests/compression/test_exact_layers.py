"""Layers in single precision that round nothing: against integers of Python, and in any order of the sums."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ppl_vae.compression.exact_layers import EXACT, MOST_NOISE, BinaryLinear, Head, fitting_grid, whole_weights
from ppl_vae.compression.grid import LOGIT, MOST_LOGIT
from ppl_vae.compression.latent_chain import latent_chain
from ppl_vae.errors import ModelError


@pytest.fixture(scope="module")
def linear():
    torch.manual_seed(0)
    return nn.Linear(300, 120).double().requires_grad_(False)


@pytest.fixture(scope="module")
def features():
    return torch.nn.functional.softplus(torch.randn(50, 300, generator=torch.Generator().manual_seed(1)).double())


@pytest.mark.parametrize("largest", [1, 1000, 1 << 14])
def test_weights_use_all_that_single_precision_holds(linear, largest):
    whole, step = whole_weights(linear.weight.numpy(), largest)
    most = np.abs(whole).sum(0).max() * largest
    assert EXACT / 2.1 < most <= EXACT
    np.testing.assert_allclose(whole.T * step, linear.weight.numpy(), atol=step / 2, rtol=0)


def test_zeros_and_ones_are_summed_exactly_in_any_order(linear):
    layer = BinaryLinear(linear)
    x = (torch.rand(40, 300, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    turned = nn.Linear(300, 120).double().requires_grad_(False)
    turned.weight, turned.bias = nn.Parameter(linear.weight[:, order], requires_grad=False), linear.bias
    torch.testing.assert_close(layer(x), BinaryLinear(turned)(x[:, order]), rtol=0, atol=0)
    # 300 weights, each off by half a step at most: 2^-24 of the largest sum of weights.
    error = 300 * linear.weight.abs().sum(1).max().item() * 4 / EXACT
    torch.testing.assert_close(layer(x), linear(x.double()), rtol=0, atol=error)
    grey = 0.5 * x
    torch.testing.assert_close(layer(grey), linear(grey.double()))


def test_the_cells_of_a_head_are_those_of_integers(linear, features):
    grid = fitting_grid(linear, features)
    head = Head(linear, grid)
    whole = np.floor(head.steps(features) + 0.5)
    cells = head.cells(whole)
    weights, step = whole_weights(linear.weight.numpy(), grid.most)
    for row, column in ((0, 0), (7, 100), (49, 119)):
        total = sum(int(k) * int(w) for k, w in zip(whole[row], weights[:, column], strict=True))
        logit = total * step * 2.0**-grid.step_bits + linear.bias[column].item()
        assert cells[row, column] == math.floor(LOGIT * (logit + MOST_LOGIT) + 0.5)
    # The grids move a logit by as much as they say, a small part of a cell.
    moved = whole @ weights * step * 2.0**-grid.step_bits - (features @ linear.weight.mT).numpy()
    assert moved.std() < head.noise(features, linear.weight) < MOST_NOISE < 1 / LOGIT / math.sqrt(12)
    far = head.steps(1e9 * features)
    assert np.abs(far).max() == grid.most


def test_features_too_wide_for_exact_sums_stay_in_double_precision(linear, features):
    assert fitting_grid(linear, 1e5 * features) is None
    assert fitting_grid(nn.Linear(20, 120).double(), features[:, :20]) is None
    assert fitting_grid(linear, 0 * features) is None


def test_weights_that_are_not_finite_are_refused():
    import ppl_vae as pv

    vae = pv.VAE((1, 4, 4), 2)
    with torch.no_grad():
        vae.model.decoder[-1].bias[0] = math.nan
    with pytest.raises(ModelError, match="takes a model of finite weights"):
        latent_chain(vae)
