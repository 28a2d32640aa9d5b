"""Priors over a grid of codes: normalised over all of them, causal, and drawn from as they say."""

import itertools
import math

import pytest
import torch
from torch import nn

from ppl_vae.errors import ModelError
from ppl_vae.models.vector_quantised.code_prior import AutoregressiveCodes, code_prior

CELLS, CODES = 3, 4


def learned(cells=CELLS, codes=CODES, seed=0):
    """Far from uniform, in float64."""
    torch.manual_seed(seed)
    prior = AutoregressiveCodes(width=8, depth=2, num_heads=2).double().eval()
    prior.build(cells, codes)
    prior.double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return prior.eval()


def every_grid(cells=CELLS, codes=CODES):
    return torch.tensor(list(itertools.product(range(codes), repeat=cells)))


@pytest.mark.parametrize("cells", [1, CELLS])
def test_masses_of_all_grids_sum_to_one(cells):
    log_mass = learned(cells)().log_prob(every_grid(cells))
    assert log_mass.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert log_mass.std() > 0.3


def test_it_starts_next_to_the_uniform_prior():
    """Within a tenth of a nat for every grid."""
    grids = every_grid()
    for name in ("uniform", "autoregressive"):
        prior = code_prior(name)
        prior.build(CELLS, CODES)
        wanted = torch.full((len(grids),), -CELLS * math.log(CODES))
        torch.testing.assert_close(prior().log_prob(grids).detach(), wanted, rtol=0, atol=0.1)


def test_a_cell_depends_on_those_before_it_alone():
    """The derivative of cell m's logits by the embedding of cell j's code is zero for j >= m, and not before."""
    prior, k = learned(5), torch.tensor([[0, 1, 2, 3]])
    rows = prior.embedding(k).detach().requires_grad_()
    prior.embedding = _Given(rows)
    logits = prior.logits(k)
    for cell in range(5):
        (gradient,) = torch.autograd.grad(logits[0, cell].square().sum(), rows, retain_graph=True)
        reached = gradient[0].abs().sum(-1) > 0
        assert reached.tolist() == [j < cell for j in range(4)]


class _Given(nn.Module):
    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def forward(self, k):
        return self.rows


@pytest.mark.slow
def test_draws_have_the_masses_that_the_density_states():
    """20,000 draws: every grid that 20 of them are expected of is within 4.5 standard errors of its mass."""
    prior, n = learned(), 20_000
    torch.manual_seed(1)
    draws = prior().sample((n,))
    assert draws.shape == (n, CELLS)
    grids = every_grid()
    mass = prior().log_prob(grids).exp().detach()
    place = (draws * torch.tensor([CODES**2, CODES, 1])).sum(-1)
    share = place.bincount(minlength=len(grids)) / n
    error = (mass * (1 - mass) / n).sqrt()
    common = mass * n > 20
    assert common.sum() > 10
    assert ((share - mass).abs() / error)[common].max() < 4.5
    assert share[~common].sum() < 2 * mass[~common].sum() + 20 / n


def test_batches_broadcast_as_those_of_other_distributions_do():
    prior, k = learned(), every_grid()[:6]
    wide = prior().expand((2, 6))
    assert wide.batch_shape == (2, 6)
    assert wide.sample().shape == (2, 6, CELLS)
    assert wide.sample((5,)).shape == (5, 2, 6, CELLS)
    found = wide.log_prob(k)
    assert found.shape == (2, 6)
    torch.testing.assert_close(found[1], prior().log_prob(k))
    assert wide.support.check(k).all()
    assert not wide.support.check(k + CODES).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be an integer of at least 1, got 0"),
        ({"num_heads": 3}, "num_heads must divide width, got 3 heads for a width of 64"),
        ({"name": "autoregresive"}, "unknown prior 'autoregresive'; did you mean 'autoregressive'"),
        ({"layers": 3}, "prior 'autoregressive': .*'layers'"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message):
    with pytest.raises(ModelError, match=message):
        code_prior({"name": "autoregressive", **options})
