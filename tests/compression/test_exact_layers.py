"""Layers in single precision that round nothing: against integers of Python, and in any order of the sums."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ppl_vae.compression.exact_layers import (
    EXACT,
    MOST_NOISE,
    BinaryLinear,
    BitSums,
    Head,
    HeadFormat,
    fitting_format,
    noise,
    whole_weights,
)
from ppl_vae.compression.fixed_point import TABLE_BITS, look_up, table, table_format
from ppl_vae.compression.grid import LOGIT, MOST_LOGIT, Grid
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


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("width", [1, 7, 64])
def test_sums_of_bits_are_those_of_integers(share, width):
    generator = np.random.default_rng(0)
    whole = generator.integers(-1000, 1000, (width, 5)).astype(np.float32)
    bits = (generator.random((9, width)) < share).astype(np.float32)
    expected = bits.astype(np.int64) @ whole.astype(np.int64)
    np.testing.assert_array_equal(BitSums(whole)(bits), expected)


@pytest.mark.parametrize("activation", [nn.Softplus(), nn.ReLU(), nn.Tanh(), nn.ELU(), nn.SiLU(), nn.GELU()])
def test_an_activation_behind_zeros_and_ones_is_looked_up(linear, activation):
    layer = BinaryLinear(linear, activation)
    x = (torch.rand(40, 300, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    expected = activation(linear(x.double()))
    reach = 1.5 * (linear.weight.abs().sum(1) + linear.bias.abs()).max().item()
    step = table_format(reach).step
    assert 0 < (layer(x) - expected).abs().max() < 0.6 * 1.13 * step < 0.01
    grey = 0.5 * x
    torch.testing.assert_close(layer(grey), activation(linear(grey.double())))


def test_a_table_holds_every_number_of_its_format():
    format_ = table_format(5.0)
    assert (format_.reach_bits, format_.step_bits) == (3, TABLE_BITS - 4)
    values = table(nn.Identity(), format_)
    whole = np.array([[-format_.most, 0.0], [1.0, format_.most]])
    expected = torch.tensor([[-8.0, 0.0], [format_.step, 8.0]]).double()
    torch.testing.assert_close(look_up(values, whole, format_), expected, rtol=0, atol=0)


def test_the_cells_of_a_head_are_those_of_integers(linear, features):
    form = fitting_format(linear, features, None)
    head = Head(linear, form, None, Grid())
    fixed = form.features
    whole = np.floor(fixed.steps(features) + 0.5)
    cells = head.cells(features, "0")
    weights, step = whole_weights(linear.weight.numpy(), fixed.most)
    for row, column in ((0, 0), (7, 100), (49, 119)):
        total = sum(int(k) * int(w) for k, w in zip(whole[row], weights[:, column], strict=True))
        logit = total * step * fixed.step + linear.bias[column].item()
        assert cells[row, column] == math.floor(LOGIT * (logit + MOST_LOGIT) + 0.5)
    # The grids move a logit by as much as they say, a small part of a cell.
    moved = whole @ weights * step * fixed.step - (features @ linear.weight.mT).numpy()
    assert moved.std() < noise(linear, form, features) < MOST_NOISE < 1 / LOGIT / math.sqrt(12)
    assert np.abs(fixed.steps(1e9 * features)).max() == fixed.most


@pytest.mark.parametrize("activation", [nn.Softplus(), nn.ReLU()])
def test_a_head_behind_a_table_has_the_cells_of_the_true_logits(linear, activation):
    arguments = 3 * torch.randn(50, 300, generator=torch.Generator().manual_seed(1)).double()
    form = fitting_format(linear, arguments, activation)
    assert form.arguments is not None
    grid = Grid()
    cells = Head(linear, form, activation, grid).cells(arguments, "0")
    logits = linear(activation(arguments)).numpy()
    # Off by one where a logit lies at a border, within what the grids move it by.
    off = np.abs(cells - np.floor(LOGIT * (logits + MOST_LOGIT) + 0.5))
    assert off.max() <= 1
    assert off.mean() < 2 * LOGIT * noise(linear, form, activation(arguments))
    # Rectified numbers are on the grid and not at its borders, so that none has to be written down.
    assert len(grid.uncertain.get("table", [])) < 5
    far = Head(linear, form, activation, Grid(grid.uncertain)).cells(1e9 * arguments, "1")
    assert far.min() >= 0
    assert far.max() <= 2 * MOST_LOGIT * LOGIT


def test_features_too_wide_for_exact_sums_stay_in_double_precision(linear, features):
    assert fitting_format(linear, 1e5 * features, None) is None
    assert fitting_format(nn.Linear(20, 120).double(), features[:, :20], None) is None
    assert fitting_format(linear, 0 * features, None) is None


def test_arguments_too_wide_for_a_table_are_computed(linear):
    arguments = torch.randn(50, 300, generator=torch.Generator().manual_seed(1)).double()
    arguments[0, 0] = -1e5
    form = fitting_format(linear, arguments, nn.ReLU())
    assert form == HeadFormat(form.features, None)
    assert np.isfinite(Head(linear, form, nn.ReLU(), Grid()).cells(arguments, "0")).all()


def test_weights_that_are_not_finite_are_refused():
    import ppl_vae as pv

    vae = pv.VAE((1, 4, 4), 2)
    with torch.no_grad():
        vae.model.decoder[-1].bias[0] = math.nan
    with pytest.raises(ModelError, match="takes a model of finite weights"):
        latent_chain(vae)
