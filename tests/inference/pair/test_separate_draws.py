"""A density of a draw that other draws move is refused wherever a mean over draws is told or trained on."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics import run_gaps, run_importance
from ppl_vae.errors import ModelError

W = torch.tensor([[1.0, -0.5, 0.3], [0.2, 0.8, -1.0]])
X = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))


def model_with(decode):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decode(z), 1.0).to_event(1), obs=x)

    return model


class Guide(nn.Module):
    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.loc.expand(len(x), 2), 1.0).to_event(1))


def summed(z):
    return z @ W + 0.1 * z.sum()


def centred(z):
    return z @ W - (z @ W).mean(-2, keepdim=True)


def of_first_draw(z):
    """The decoder reads the first draw alone, whichever it is asked about."""
    return z.reshape(-1, len(X), 2)[0] @ W


def of_last_draw(z):
    return z.reshape(-1, len(X), 2)[-1] @ W


def right(z):
    return z @ W + 0.1 * z.sum(-1, keepdim=True) + z.mean((-1, -2), keepdim=True) * 0.0


def coupled_guide(x):
    with pyro.plate("data", len(x)):
        first = pyro.sample("first", dist.Normal(torch.zeros(len(x)), 1.0))
        pyro.sample("second", dist.Normal(0.1 * first.sum(), 1.0))


def model_of_two(x):
    with pyro.plate("data", len(x)):
        first = pyro.sample("first", dist.Normal(0.0, 1.0))
        second = pyro.sample("second", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(torch.stack([first, second], -1) @ W, 1.0).to_event(1), obs=x)


OF_WEIGHTS = {
    "log_evidence": lambda pair: pv.log_evidence(pair, X, num_samples=50),
    "annealing": lambda pair: pv.log_evidence(pair, X, method="ais", num_samples=2, num_temperatures=4),
    "run_importance": lambda pair: run_importance(pair, X, 50),
    "run_gaps": lambda pair: run_gaps(pair, X, num_samples=30, num_steps=3),
}
OF_DRAWS = {
    "evaluate": lambda pair: pv.evaluate(pair, X, num_particles=3),
    "fit": lambda pair: pv.fit(pair, X, elbo=inf.get_elbo("iwae", num_particles=3), epochs=1, progress=False),
    "per_datum": lambda pair: inf.get_elbo("iwae", num_particles=3).per_datum(pair, X),
    "loss": lambda pair: inf.get_elbo("iwae", num_particles=3).loss(*pair, X),
}


@pytest.mark.parametrize("asked", [*OF_WEIGHTS, *OF_DRAWS])
def test_a_sum_over_draws_is_refused(asked):
    with pytest.raises(ModelError, match=r"the model's density of a draw depends on other draws.*z\.sum"):
        (OF_WEIGHTS | OF_DRAWS)[asked]((model_with(summed), Guide()))


@pytest.mark.parametrize("decode", [of_first_draw, of_last_draw])
def test_a_decoder_of_one_draw_for_all_is_refused(decode):
    with pytest.raises(ModelError, match="the model's density of a draw depends on other draws"):
        pv.evaluate((model_with(decode), Guide()), X, num_particles=3)


@pytest.mark.parametrize("asked", [*OF_WEIGHTS])
def test_a_mean_over_data_has_no_evidence_of_a_datum(asked):
    with pytest.raises(ModelError, match=r"of its datum or of the other data.*h - h\.mean"):
        OF_WEIGHTS[asked]((model_with(centred), Guide()))


def test_a_mean_over_data_has_a_bound_of_the_set():
    """The sum of the terms is one of all data together: E log p(x, z) - log q(z) in closed form at q = prior."""
    told = pv.evaluate((model_with(centred), Guide()), X, num_particles=20000).elbo.sum()
    spread = (W.square().sum() * (1 - 1 / len(X)) * len(X) + X.square().sum()) / 2
    exact = -spread - X.numel() / 2 * torch.log(torch.tensor(2 * torch.pi))
    assert abs(told - exact) < 0.2


def test_a_guide_whose_draws_read_others_is_refused():
    with pytest.raises(ModelError, match="the guide's density of a draw depends on other draws"):
        pv.log_evidence((model_of_two, coupled_guide), X, num_samples=50)


@pytest.mark.parametrize("asked", [*OF_WEIGHTS, *OF_DRAWS])
def test_sums_within_a_datum_pass(asked):
    (OF_WEIGHTS | OF_DRAWS)[asked]((model_with(right), Guide()))


class Cooling:
    """A model whose density moves with its calls, by no random number."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        model_with(lambda z: z @ W / self.calls)(x)


def test_a_density_that_moves_with_calls_is_not_taken_for_one_that_moves_with_draws():
    pv.evaluate((Cooling(), Guide()), X, num_particles=3)


def test_the_question_takes_nothing_from_the_stream():
    elbo, model, guide, losses = inf.get_elbo("iwae", num_particles=3), model_with(right), Guide(), []
    for _ in range(2):
        torch.manual_seed(0)
        losses.append(elbo.loss(model, guide, X))
    assert losses[0] == losses[1]
