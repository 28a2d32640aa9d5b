"""Several pairs trained together: each ends where its single fit does, or is refused by its number."""

import pandas as pd
import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro.infer import autoguide
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.training import member_epochs
from tests.inference.small_runs import small_data, small_dataset, small_vae

OPTIONS = {"epochs": 3, "batch_size": 25, "device": "cpu", "num_threads": 1, "progress": False, "compile": False}


def require_equal(found, single):
    pd.testing.assert_frame_equal(
        found.history.drop(columns="seconds"), single.history.drop(columns="seconds"), rtol=1e-4, atol=1e-4
    )
    assert (found.best_epoch, found.epochs_run) == (single.best_epoch, single.epochs_run)
    for name, tensor in single.model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


def dispersed(seed):
    """Buffers that move in training, and a state of the likelihood's own."""
    return small_vae(seed, likelihood={"name": "gaussian", "sigma": "optimal"})


@pytest.mark.parametrize(
    ("make", "data", "options"),
    [
        pytest.param(small_vae, small_data, {"lr": 1e-2}, marks=pytest.mark.slow),
        (
            small_vae,
            small_data,
            {"validation": 0.2, "batch_size": 16, "patience": 1, "max_grad_norm": 0.5, "schedule": "cosine"},
        ),
        pytest.param(
            dispersed, small_data, {"lr": 1e-2, "elbo": "iwae", "optimizer": "sgd"}, marks=pytest.mark.slow
        ),
        (lambda seed: small_vae(seed, "bernoulli"), lambda: small_dataset("dynamic"), {"lr": 1e-2}),
    ],
    ids=["plain", "validation", "buffers", "binarised"],
)
def test_each_member_ends_where_its_single_fit_does(make, data, options):
    seeds = [4, 0, 7]
    before = torch.get_rng_state()
    many = pv.fit_many([make(k) for k in range(3)], data(), seeds=seeds, **{**OPTIONS, **options})
    assert torch.equal(before, torch.get_rng_state())
    for k, seed in enumerate(seeds):
        require_equal(many[k], pv.fit(make(k), data(), seed=seed, **{**OPTIONS, **options}))
    assert many[0].manifest["compile"] == "batched"
    # Each has memory of its own again.
    assert all(p.untyped_storage().nbytes() == p.nbytes for p in many[1].model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["factor-vae", "vq-vae", "wae-mmd"])
def test_an_objective_that_learns_is_each_members_own(recipe):
    """With a rate of its own, networks that are made from the run's stream, and buffers that move."""

    def make(seed):
        return pv.make(recipe, (6,), likelihood="gaussian", seed=seed)

    options = {name: value for name, value in OPTIONS.items() if name != "epochs"}
    many = pv.fit_many([make(k) for k in range(2)], small_data(), epochs=2, **options)
    for k in range(2):
        require_equal(many[k], pv.fit(make(k), small_data(), epochs=2, seed=k, **options))


@pytest.mark.slow
def test_each_member_may_have_a_rate_of_its_own():
    rates = [1e-3, 1e-2]
    many = pv.fit_many([small_vae(k) for k in range(2)], small_data(), lr=rates, **OPTIONS)
    for k, lr in enumerate(rates):
        require_equal(many[k], pv.fit(small_vae(k), small_data(), lr=lr, seed=k, **OPTIONS))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "threads", "large_step", "words"),
    [(2, 1, None, "2 as one;"), (4, 2, None, "2 as one, in 2 threads;"), (3, 2, 1, "each its own, in 2 threads;")],
    ids=["together", "blocks", "alone"],
)
def test_machine_code_takes_the_same_steps(monkeypatch, count, threads, large_step, words):
    """Also where threads of their own take the steps of some members each, and the last batch is smaller."""
    if large_step is not None:
        monkeypatch.setattr(member_epochs, "LARGE_STEP", large_step)
    options = {**OPTIONS, "compile": True, "lr": 1e-2, "schedule": "cosine", "max_grad_norm": 1.0}
    many = pv.fit_many(
        [small_vae(k) for k in range(count)], small_data()[:-3], **{**options, "num_threads": threads}
    )
    assert many[0].manifest["compile"] == "batched, compiled"
    assert words in many[0].manifest["compile_reason"]
    for k in range(count):
        require_equal(many[k], pv.fit(small_vae(k), small_data()[:-3], seed=k, **{**options, "compile": False}))


@pytest.mark.slow
def test_a_schedule_of_the_users_is_called_in_the_callers_thread():
    """One that asks something of this package would wait in another thread for what the fit holds."""
    asked = pv.LinearGaussianVAE(torch.eye(3, 1), torch.zeros(3), 1.0)
    x = torch.zeros(2, 3)

    def schedule(step):
        return 1.0 if float(pv.evaluate(asked, x, num_particles=2).elbo.mean()) < 0 else 0.5

    pairs = [small_vae(k) for k in range(4)]
    many = pv.fit_many(pairs, small_data(), **{**OPTIONS, "compile": True, "num_threads": 2}, schedule=schedule)
    assert "threads" not in many[0].manifest["compile_reason"]
    require_equal(many[0], pv.fit(small_vae(0), small_data(), seed=0, schedule=schedule, **OPTIONS))


@pytest.mark.parametrize(
    ("members", "flops", "threads", "expected"),
    [(16, 47_000_000, 2, 1), (16, 7_500_000, 2, 4), (16, 1, 2, 8), (7, 1, 2, 1), (7, 1, 1, 7), (1, 1, 1, 1)],
)
def test_blocks_are_of_one_size_and_enough_for_all_threads(members, flops, threads, expected):
    assert member_epochs.blocks(members, flops, threads) == expected


@pytest.mark.slow
def test_members_that_differ_in_more_than_weights_are_refused_by_their_number():
    other = small_vae(1, likelihood={"name": "gaussian", "sigma": 0.5})
    with pytest.raises(ModelError, match="member 1: its loss or gradient is another"):
        pv.fit_many([small_vae(0), other], small_data(), **OPTIONS)
    wide = pv.VAE((6,), 3, network="linear", likelihood="gaussian")
    with pytest.raises(ModelError, match="member 2: its parameters have other shapes"):
        pv.fit_many([small_vae(0), small_vae(1), wide], small_data(), **OPTIONS)
    with pytest.raises(ModelError, match="a seed for each of 2 different pairs"):
        pv.fit_many([vae := small_vae(0), vae], small_data(), **OPTIONS)
    with pytest.raises(ModelError, match="lr: expected one for all or one for each of 2"):
        pv.fit_many([small_vae(0), small_vae(1)], small_data(), lr=[0.1], **OPTIONS)
    with pytest.raises((ModelError, DataError), match="in one piece"):
        pv.fit_many([small_vae(0)], [small_data()], **{**OPTIONS, "batch_size": None})


class GammaPosterior(nn.Module):
    """Draws whose number of tries depends on the weights."""

    def build(self, num_features, latent_dim):
        self.head = nn.Linear(num_features, latent_dim)

    def forward(self, features):
        rate = self.head(features).exp()
        return dist.Gamma(rate, rate).to_event(1)


class GammaPrior(nn.Module):
    def build(self, latent_dim):
        self.register_buffer("one", torch.ones(latent_dim))

    def forward(self):
        return dist.Gamma(self.one, self.one).to_event(1)


@pytest.mark.slow
def test_draws_that_depend_on_weights_are_refused_by_their_operation():
    vaes = [small_vae(k, posterior=GammaPosterior(), prior=GammaPrior()) for k in range(2)]
    with pytest.raises(ModelError, match=r"they draw by aten\._standard_gamma"):
        pv.fit_many(vaes, small_data(), "monte-carlo-kl", **OPTIONS)


@pytest.mark.slow
def test_what_torch_cannot_map_is_refused_in_words():
    vaes = [pv.make("categorical-vae", (6,), likelihood="gaussian", seed=k) for k in range(2)]
    with pytest.raises(ModelError, match=r"torch cannot take their steps as one .*fit them one by one"):
        pv.fit_many(vaes, small_data(), **OPTIONS)


@pytest.mark.slow
def test_a_number_that_is_not_finite_names_the_member_and_leaves_whole_epochs():
    broken = small_data()
    vaes = [small_vae(k) for k in range(2)]
    kept = [{name: t.clone() for name, t in vae.state_dict().items()} for vae in vaes]
    with pytest.raises(pv.errors.ConvergenceError, match=r"member 1: .*not finite"):
        pv.fit_many(vaes, broken, lr=[1e-3, 1e30], **OPTIONS)
    for vae, before in zip(vaes, kept, strict=True):
        assert not vae.training
        assert all(torch.equal(t, before[name]) for name, t in vae.state_dict().items())


def normal_mean(x):
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean, 1.0), obs=x)


def test_autoguides_of_one_name_are_fitted_to_data_of_their_own():
    """Each has the parameters that Pyro names like the other's, and ends at its own posterior's side."""
    data = [
        torch.randn(20, generator=torch.Generator().manual_seed(k)) + mean for k, mean in enumerate((3.0, -3.0))
    ]
    options = {**OPTIONS, "elbo": "monte-carlo-kl", "lr": 0.1, "batch_size": 10}
    pairs = [(normal_mean, autoguide.AutoNormal(normal_mean)) for _ in data]
    many = pv.fit_many(pairs, data_of_each=data, **options)
    for k, x in enumerate(data):
        single = (normal_mean, autoguide.AutoNormal(normal_mean))
        alone = pv.fit(single, x, seed=k, **options)
        assert many[k].history.train_elbo.tolist() == pytest.approx(alone.history.train_elbo.tolist(), rel=1e-4)
        for found, expected in zip(pairs[k][1].parameters(), single[1].parameters(), strict=True):
            torch.testing.assert_close(found, expected)


def test_data_of_each_are_as_many_as_the_pairs_and_of_one_shape():
    vaes, x = [small_vae(k) for k in range(2)], small_data()
    with pytest.raises(ModelError, match="data_of_each: expected one for all or one for each of 2 pairs, got 3"):
        pv.fit_many(vaes, data_of_each=[x, x, x], **OPTIONS)
    with pytest.raises(ModelError, match=r"member 1: its data are \[\d+, 6\], those of member 0"):
        pv.fit_many(vaes, data_of_each=[x, x[1:]], **OPTIONS)
    with pytest.raises(ModelError, match="data for all pairs, or data_of_each, one of the two"):
        pv.fit_many(vaes, x, data_of_each=[x, x], **OPTIONS)


def test_members_that_share_a_network_are_refused():
    vae = small_vae(0)
    with pytest.raises(ModelError, match="member 1: it has parameters that are those of member 0 too"):
        pv.fit_many([(vae.model, vae.guide), (vae.model, vae.guide)], small_data(), **OPTIONS)


class Moving(nn.Module):
    """A VAE whose data are shifted by what a subclass moves at every step."""

    def __init__(self, seed):
        super().__init__()
        self.vae, self.calls = small_vae(seed), 0
        self.register_buffer("shift", torch.zeros(6))

    def model(self, x):
        return self.vae.model(x - self.moved(x))

    def guide(self, x):
        return self.vae.guide(x)


class Counts(Moving):
    def moved(self, x):
        self.calls += self.training
        return 0.0 if self.calls < 9 else 3.0


class WritesData(Moving):
    def moved(self, x):
        before = self.shift.clone()
        if self.training:
            self.shift.data = 0.9 * self.shift + 0.1 * x.mean(0)
        return before


class WritesInPlace(Moving):
    def moved(self, x):
        before = self.shift.clone()
        if self.training:
            self.shift.mul_(0.9).add_(0.1 * x.mean(0))
        return before


@pytest.mark.parametrize(
    ("make", "words"), [(Counts, r"member 0: .*moves from call to call \(Counts.calls\)"), (WritesData, "member 0")]
)
def test_state_that_steps_taken_as_one_would_leave_where_it_is_is_refused(make, words):
    with pytest.raises(ModelError, match=words):
        pv.fit_many([make(k) for k in range(2)], small_data(), **OPTIONS)


@pytest.mark.slow
def test_a_buffer_that_moves_in_place_moves_in_every_member():
    many = pv.fit_many([WritesInPlace(k) for k in range(2)], small_data(), **OPTIONS)
    for k in range(2):
        require_equal(many[k], pv.fit(WritesInPlace(k), small_data(), seed=k, **OPTIONS))


def frozen(seed, part="model.decoder"):
    """A VAE of which one part stays as it was drawn."""
    vae = small_vae(seed)
    for name, parameter in vae.named_parameters():
        parameter.requires_grad_(part not in name)
    return vae


@pytest.mark.parametrize("compile_", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("part", ["model.decoder", pytest.param("bias", marks=pytest.mark.slow)])
def test_frozen_parameters_are_each_members_own(part, compile_):
    """They were taken for constants of member 0, so that every other one was refused as of another architecture."""
    options = OPTIONS | {"compile": compile_}
    pairs = [frozen(k, part) for k in range(2)]
    many = pv.fit_many(pairs, small_data(), **options)
    for k in range(2):
        require_equal(many[k], pv.fit(frozen(k, part), small_data(), seed=k, **options))
        drawn = {name: p for name, p in frozen(k, part).named_parameters() if part in name}
        assert all(torch.equal(p, dict(pairs[k].named_parameters())[name]) for name, p in drawn.items())
        assert all(p.untyped_storage().nbytes() == p.nbytes for p in pairs[k].parameters())


@pytest.mark.slow
@pytest.mark.parametrize("several", [3, 2])
def test_one_frozen_network_may_serve_members(several):
    """One decoder, drawn once, for three encoders, or for two of them."""
    pairs, shared = [frozen(k) for k in range(3)], frozen(0).model.decoder
    for k, pair in enumerate(pairs):
        pair.model.decoder = shared if k < several else frozen(k).model.decoder
    many = pv.fit_many(pairs, small_data(), **OPTIONS)
    for k in range(3):
        alone = frozen(k)
        alone.model.decoder = frozen(0 if k < several else k).model.decoder
        require_equal(many[k], pv.fit(alone, small_data(), seed=k, **OPTIONS))


@pytest.mark.parametrize(("first", "second"), [("model.decoder", "none"), ("none", "model.decoder")])
def test_what_is_frozen_in_one_and_trained_in_another_is_named(first, second):
    words = r"member 1: model\.decoder\.0\.weight is frozen in member (0|1) and trained in member (1|0); .*fit it"
    with pytest.raises(ModelError, match=words):
        pv.fit_many([frozen(0, first), frozen(1, second)], small_data(), **OPTIONS)
