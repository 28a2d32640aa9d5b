import math

import numpy as np
import pandas as pd
import pyro
import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import CheckpointError, ConvergenceError, DataError, ModelError
from ppl_vae.inference.training.run_files import CHECKPOINT
from ppl_vae.models import DiagonalPosterior
from ppl_vae.networks import MLP
from tests.inference.small_runs import (
    STEPS,
    D,
    N,
    files,
    require_same,
    small_data,
    small_dataset,
    small_vae,
    train,
    weight_bytes,
)

TERMS = ("elbo", "log_likelihood", "kl")


class Recording(inf.AnalyticKL):
    """AnalyticKL that keeps what it computed: (size of the batch, loss, log likelihood, KL) of every step."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def forward(self, terms, step=None):
        loss = super().forward(terms, step)
        log_likelihood, kl = terms.log_likelihood.mean().item(), terms.kl().mean().item()
        self.rows.append((terms.log_likelihood.shape[1], loss.item(), log_likelihood, kl))
        return loss


class BreaksAt(inf.AnalyticKL):
    """AnalyticKL whose loss is NaN at one step."""

    def __init__(self, broken_step):
        super().__init__()
        self.broken_step = broken_step

    def forward(self, terms, step=None):
        loss = super().forward(terms, step)
        return loss * math.nan if step is not None and step == self.broken_step else loss


# What training reaches ------------------------------------------------------------------------------


def correlated_data(n=500, dim=8):
    generator = torch.Generator().manual_seed(3)
    mixing = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    scales = torch.linspace(2.5, 0.5, dim, dtype=torch.float64)
    return (torch.randn(n, dim, generator=generator, dtype=torch.float64) * scales) @ mixing / dim**0.5 + 1.0


def ppca_optimum(x, latent_dim):
    """Probabilistic PCA at its maximum (Tipping & Bishop 1999): nats per datum, eigenvalues, noise variance."""
    eigenvalues = torch.linalg.eigvalsh((x - x.mean(0)).T @ (x - x.mean(0)) / len(x)).flip(0)
    noise = eigenvalues[latent_dim:].mean()
    dim = x.shape[1]
    log_det = eigenvalues[:latent_dim].log().sum() + (dim - latent_dim) * noise.log()
    return -0.5 * (dim * math.log(2 * math.pi) + log_det + dim).item(), eigenvalues, noise


def test_linear_vae_reaches_the_optimum_of_probabilistic_pca():
    x = correlated_data()
    optimum, eigenvalues, noise = ppca_optimum(x, latent_dim=3)
    start = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lg = pv.LinearGaussianVAE(start, torch.zeros(8), 1.0, guide=DiagonalPosterior("log-scale"))
    assert lg.elbo(x).mean().item() < optimum - 1
    train(lg, x, epochs=600, batch_size=500, lr=0.1, schedule=inf.schedules.cosine(600))
    elbo = lg.elbo(x).mean().item()
    assert optimum - 0.05 < elbo < optimum
    assert lg.sigma.item() == pytest.approx(noise.sqrt().item(), rel=0.05)
    average_kl = pv.evaluate(lg, x).kl.mean().item()
    assert average_kl == pytest.approx(0.5 * (eigenvalues[:3] / noise).log().sum().item(), rel=0.05)


@pytest.mark.slow
def test_takes_a_linear_network_brought_by_the_user():
    x = correlated_data().float()
    optimum, _, _ = ppca_optimum(x.double(), latent_dim=3)
    torch.manual_seed(1)
    vae = pv.VAE(
        (8,),
        3,
        network=(torch.nn.Identity(), torch.nn.Linear(3, 8)),
        likelihood=pv.models.GaussianLikelihood("learned"),
    )
    train(vae, x, epochs=300, batch_size=500, lr=0.1, schedule=inf.schedules.cosine(300))
    evaluation = pv.evaluate(vae, x, num_particles=20)
    assert evaluation.elbo.mean().item() == pytest.approx(optimum, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("elbo", ["monte-carlo-kl", "sticking-the-landing", inf.Beta("analytic-kl", 0.5)])
def test_other_objectives_train_too(elbo):
    before = pv.evaluate(small_vae(), small_data()).elbo.mean()
    result = train(small_vae(), small_data(), elbo=elbo, epochs=20)
    assert pv.evaluate(result.model, small_data()).elbo.mean() > before + 1


# History --------------------------------------------------------------------------------------------


def test_history_has_a_row_an_epoch_and_the_documented_columns(trained):
    splits = [f"{split}_{term}" for split in ("train", "test") for term in TERMS]
    assert list(trained.history.columns) == ["epoch", "step", "loss", *splits, "seconds"]
    assert list(trained.history["epoch"]) == [1, 2, 3]
    assert list(trained.history["step"]) == [STEPS, 2 * STEPS, 3 * STEPS]
    assert (trained.history["seconds"] > 0).all()
    assert trained.epochs_run == 3


def test_history_has_validation_between_train_and_test():
    history = train(small_vae(), small_dataset(), epochs=1, validation=0.2).history
    splits = [f"{split}_{term}" for split in ("train", "validation", "test") for term in TERMS]
    assert list(history.columns) == ["epoch", "step", "loss", *splits, "seconds"]


def test_elbo_is_log_likelihood_minus_kl_in_every_split():
    history = train(small_vae(), small_dataset(), validation=0.2).history
    for split in ("train", "validation", "test"):
        difference = history[f"{split}_log_likelihood"] - history[f"{split}_kl"]
        np.testing.assert_allclose(history[f"{split}_elbo"], difference, rtol=1e-5)


def test_train_columns_weigh_every_datum_once():
    recording = Recording()
    history = train(small_vae(), small_data(), elbo=recording).history
    steps = np.array(recording.rows).reshape(3, STEPS, 4)
    assert steps[0, :, 0].tolist() == [16, 16, 16, 2]
    for column, name in ((1, "loss"), (2, "train_log_likelihood"), (3, "train_kl")):
        expected = (steps[..., 0] * steps[..., column]).sum(1) / N
        np.testing.assert_allclose(history[name], expected, rtol=1e-6)
        # The mean of batch means, which would give the last two data the weight of sixteen, is another number.
        assert np.abs(history[name] - steps[..., column].mean(1)).max() > 1e-3


def test_the_objective_is_not_the_score():
    history = train(small_vae(), small_data(), elbo=inf.Beta("analytic-kl", 4.0)).history
    weighted = history["train_log_likelihood"] - 4 * history["train_kl"]
    np.testing.assert_allclose(-history["loss"], weighted, rtol=1e-5)
    plain = history["train_log_likelihood"] - history["train_kl"]
    np.testing.assert_allclose(history["train_elbo"], plain, rtol=1e-5)


def test_validation_and_test_columns_are_evaluations_of_the_plain_elbo():
    dataset, seed = small_dataset(), 5
    held_out = small_data(9, seed=2)
    result = train(small_vae(), dataset, elbo=inf.Beta("iwae", 3.0), validation=held_out, seed=seed, epochs=1)
    for split, x in (("validation", held_out), ("test", dataset.test.x)):
        summary = pv.evaluate(result.model, x, seed=seed).summary()
        assert [result.history[f"{split}_{term}"].iloc[-1] for term in TERMS] == [summary[t] for t in TERMS]


def test_without_validation_the_last_weights_stay():
    result = train(small_vae(), small_dataset(), epochs=4)
    assert result.best_epoch == result.epochs_run == 4
    last = pv.evaluate(result.model, small_dataset().test.x, seed=0).elbo.mean().item()
    assert result.history["test_elbo"].iloc[-1] == pytest.approx(last, rel=1e-6)


def test_trains_in_place_and_leaves_the_model_in_evaluation_mode():
    vae = small_vae()
    before = weight_bytes(vae)
    result = train(vae, small_data(), epochs=1)
    assert result.model is vae
    assert not any(module.training for module in vae.modules())
    assert all(before[name] != now for name, now in weight_bytes(vae).items())


def test_a_recipe_brings_its_objective_and_settings():
    recipe = pv.make(
        "beta-vae", (D,), network=MLP((8,)), likelihood="gaussian", latent_dim=2, beta=3.0, epochs=2, batch_size=25
    )
    result = pv.fit(recipe, small_data(), device="cpu", progress=False)
    assert result.model is recipe.vae
    assert list(result.history["step"]) == [2, 4]
    weighted = result.history["train_log_likelihood"] - 3 * result.history["train_kl"]
    np.testing.assert_allclose(-result.history["loss"], weighted, rtol=1e-5)
    assert pv.fit(recipe, small_data(), device="cpu", progress=False, epochs=1).epochs_run == 1


# One seed, one result, and nothing global ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("binarization", ["none", "dynamic"])
def test_one_seed_gives_one_result(binarization):
    likelihood = "gaussian" if binarization == "none" else "bernoulli"
    runs = []
    for stir in range(2):
        torch.manual_seed(stir)
        runs.append(train(small_vae(likelihood=likelihood), small_dataset(binarization), validation=0.2, seed=3))
    require_same(*runs)


@pytest.mark.slow
def test_another_seed_gives_another_result():
    weights = [weight_bytes(train(small_vae(), small_data(), seed=seed).model) for seed in (0, 1)]
    assert all(weights[0][name] != weights[1][name] for name in weights[0])


@pytest.mark.slow
def test_another_seed_of_the_model_gives_another_result():
    weights = [weight_bytes(train(small_vae(seed), small_data()).model) for seed in (0, 1)]
    assert all(weights[0][name] != weights[1][name] for name in weights[0] if name.endswith("weight"))


@pytest.mark.slow
@pytest.mark.parametrize("binarization", ["none", "dynamic"])
@pytest.mark.parametrize("num_threads", [None, 1])
def test_global_state_is_as_it_was(binarization, num_threads):
    likelihood = "gaussian" if binarization == "none" else "bernoulli"
    vae, dataset = small_vae(likelihood=likelihood), small_dataset(binarization)
    pyro.param("somebody_elses", torch.tensor(2.0))
    random_state, threads = torch.get_rng_state(), torch.get_num_threads()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002  (the global stream is the point)
    with pyro.validation_enabled(True):
        train(vae, dataset, validation=0.2, num_threads=num_threads)
        assert pyro.distributions.is_validation_enabled()
        assert torch.distributions.Distribution._validate_args
    assert torch.equal(torch.get_rng_state(), random_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    assert torch.get_num_threads() == threads
    assert list(pyro.get_param_store().keys()) == ["somebody_elses"]
    assert pyro.param("somebody_elses").item() == 2.0


def test_global_state_is_as_it_was_after_an_error():
    random_state, threads = torch.get_rng_state(), torch.get_num_threads()
    with pytest.raises(ConvergenceError):
        train(small_vae(), small_data(), elbo=BreaksAt(2), num_threads=threads + 1)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.get_num_threads() == threads
    assert not list(pyro.get_param_store().keys())


def test_evaluating_does_not_change_the_training():
    dataset = small_dataset()
    with_test = train(small_vae(), dataset)
    without = train(small_vae(), dataset.train.x)
    assert weight_bytes(with_test.model) == weight_bytes(without.model)
    trained_terms = ["loss", "train_elbo", "train_kl"]
    pd.testing.assert_frame_equal(
        with_test.history[trained_terms], without.history[trained_terms], check_exact=True
    )


def test_a_given_number_of_threads_is_used_and_recorded():
    seen = []

    class Watching(inf.AnalyticKL):
        def forward(self, terms, step=None):
            seen.append(torch.get_num_threads())
            return super().forward(terms, step)

    result = train(small_vae(), small_data(), elbo=Watching(), epochs=1, num_threads=2)
    assert set(seen) == {2}
    assert result.manifest["num_threads"] == 2


def test_batch_norm_sees_each_training_batch_once_and_nothing_else():
    encoder = torch.nn.Sequential(torch.nn.Linear(D, 8), torch.nn.BatchNorm1d(8))
    vae = pv.VAE((D,), 2, network=(encoder, torch.nn.Linear(2, D)), likelihood="gaussian")
    train(vae, small_dataset(), epochs=2, validation=0.2, batch_size=20, num_threads=None)
    assert encoder[1].num_batches_tracked.item() == 2 * 2


# A loss that is not finite ----------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_epoch_step_and_terms():
    with pytest.raises(ConvergenceError, match=r"epoch 2, step 7: loss = nan, log_likelihood = -\d.*, kl = \d"):
        train(small_vae(), small_data(), elbo=BreaksAt(7))


def test_the_weights_go_back_to_the_last_good_epoch():
    vae = small_vae()
    with pytest.raises(ConvergenceError, match="back at the end of epoch 1"):
        train(vae, small_data(), elbo=BreaksAt(7))
    assert weight_bytes(vae) == weight_bytes(train(small_vae(), small_data(), epochs=1).model)


def test_a_huge_learning_rate_ends_in_a_convergence_error():
    vae = small_vae()
    before = weight_bytes(vae)
    with pytest.raises(ConvergenceError, match=r"not finite .*epoch 1, step \d"):
        train(vae, small_data(), lr=1e30, optimizer=torch.optim.SGD)
    assert weight_bytes(vae) == before


def test_a_weight_that_is_not_finite_after_the_last_step_is_found():
    class Breaking(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            self.param_groups[0]["params"][0].data.fill_(math.inf)

    with pytest.raises(ConvergenceError, match="a weight is not finite after epoch 1, step 0"):
        train(small_vae(), small_data(), optimizer=Breaking, batch_size=N)


@pytest.mark.slow
def test_the_checkpoint_of_the_last_good_epoch_stays_and_can_be_continued(tmp_path):
    with pytest.raises(ConvergenceError, match="epoch 3"):
        train(small_vae(), small_data(), elbo=BreaksAt(9), epochs=4, out_dir=tmp_path)
    assert (tmp_path / CHECKPOINT).exists()
    resumed = train(small_vae(), small_data(), elbo=BreaksAt(-1), epochs=4, out_dir=tmp_path, resume=True)
    straight = train(small_vae(), small_data(), elbo=BreaksAt(-1), epochs=4)
    require_same(resumed, straight)


def test_a_run_that_breaks_in_its_first_epoch_leaves_the_folder_free(tmp_path):
    with pytest.raises(ConvergenceError):
        train(small_vae(), small_data(), elbo=BreaksAt(1), out_dir=tmp_path)
    assert not files(tmp_path)
    assert train(small_vae(), small_data(), out_dir=tmp_path).epochs_run == 3


# Bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ModelError, "epochs must be an integer of at least 1, got 0"),
        ({"epochs": 2.5}, ModelError, "epochs must be an integer"),
        ({"batch_size": 0}, ModelError, "batch_size must be an integer"),
        ({"batch_size": N + 1}, DataError, "batch_size 51 is larger than the 50 data"),
        ({"batch_size": 46, "validation": 0.1}, DataError, "batch_size 46 is larger than the 45 data"),
        ({"lr": 0}, ModelError, "lr must be positive and finite, got 0"),
        ({"lr": math.nan}, ModelError, "lr must be positive"),
        ({"lr": "fast"}, ModelError, "lr must be a number, got 'fast'"),
        ({"max_grad_norm": -1.0}, ModelError, "max_grad_norm must be positive"),
        ({"patience": -1}, ModelError, "patience must be an integer of at least 0, got -1"),
        ({"elbo": "analytic"}, ModelError, "unknown estimator 'analytic'; did you mean 'analytic-kl'"),
        ({"elbo": torch.nn.Linear(1, 1)}, ModelError, "elbo must be a name or an objective"),
        ({"elbo": pyro.infer.Trace_ELBO()}, ModelError, "elbo must be a name or an objective"),
        ({"device": "gpu0"}, ModelError, "device 'gpu0' is unknown"),
        ({"compile": "fast"}, ModelError, "compile must be True, False or 'auto', got 'fast'"),
        ({"num_threads": -2}, ModelError, "num_threads must be an integer of at least 1, got -2"),
        ({"num_threads": 0}, ModelError, "num_threads must be an integer of at least 1, got 0"),
        ({"seed": "one"}, ModelError, "seed must be an integer, got 'one'"),
        ({"validation": 0.0}, ModelError, "a fraction between 0 and 1"),
        ({"validation": 1.5}, ModelError, "a fraction between 0 and 1"),
        ({"validation": 1}, ModelError, "a fraction between 0 and 1"),
        ({"validation": "test"}, ModelError, "the only name is 'test', for a Dataset with a test split"),
        ({"validation": "dev"}, ModelError, "validation 'dev': the only name is 'test'"),
        ({"validation": torch.zeros(3, D + 1)}, ModelError, r"expected data of shape \[N, 6\], got \[3, 7\]"),
        ({"validation": torch.zeros(0, D)}, DataError, "empty"),
        ({"optimizer": "adma"}, ModelError, "'adma'"),
        ({"optimizer": pyro.optim.Adam}, ModelError, "optimizer pyro.optim.Adam must be called"),
        (
            {"optimizer": pyro.optim.Adam({"lr": 0.1}), "lr": 0.01},
            ModelError,
            "lr=0.01 would be ignored: optimizer pyro.optim",
        ),
    ],
)
def test_bad_settings_are_named_and_nothing_is_written(options, error, message, tmp_path):
    vae = small_vae()
    before = weight_bytes(vae)
    with pytest.raises(error, match=message):
        train(vae, small_data(), out_dir=tmp_path / "run", **options)
    assert weight_bytes(vae) == before
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (torch.zeros(0, D), DataError, r"data are empty: shape \[0, 6\]"),
        (torch.tensor(1.0), DataError, "empty"),
        (np.full((20, D), np.nan), DataError, r"NaN or infinite values, the first at index \[0, 0\]"),
        (small_data().index_fill(0, torch.tensor([7]), math.inf), DataError, r"the first at index \[7, 0\]"),
        (torch.zeros(20, D + 1), ModelError, r"site 'x': expected data of shape \[N, 6\], got \[20, 7\]"),
        (iter([small_data()]), DataError, "re-iterable of batches, got list_iterator"),
        ((batch for batch in [small_data()]), DataError, "re-iterable of batches, got generator"),
        ("digits", DataError, "got str"),
        (None, DataError, "got NoneType"),
        ([], DataError, "empty"),
        (np.array(["a", "b"] * 10), DataError, "numbers"),
        ([torch.zeros(20, D + 1)], ModelError, r"expected data of shape \[N, 6\], got \[20, 7\]"),
    ],
)
def test_bad_data_are_described(data, error, message):
    vae = small_vae()
    before = weight_bytes(vae)
    with pytest.raises(error, match=message):
        train(vae, data)
    assert weight_bytes(vae) == before


@pytest.mark.parametrize("as_batches", [False, True])
def test_grey_data_under_a_bernoulli_are_refused(as_batches):
    grey = torch.sigmoid(small_data())
    with pytest.raises(DataError, match=r"(?s)binarize=.*bernoulli-relaxed"):
        train(small_vae(likelihood="bernoulli"), [grey] if as_batches else grey)


def test_grey_validation_data_under_a_bernoulli_are_refused():
    binary = (small_data() > 0).float()
    with pytest.raises(DataError, match="binarize="):
        train(small_vae(likelihood="bernoulli"), binary, validation=torch.sigmoid(small_data(9)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_without_a_device_is_refused():
    with pytest.raises(ModelError, match="'cuda' was asked for, but torch sees no CUDA device"):
        train(small_vae(), small_data(), device="cuda")


def test_what_is_no_pair_is_refused():
    with pytest.raises(ModelError, match=r"an object with .model and .guide, or a tuple"):
        train(torch.nn.Linear(2, 2), small_data())


def test_a_recipe_with_an_unknown_setting_is_refused():
    recipe = pv.make("vae", (D,), likelihood="gaussian")
    broken = type(recipe)("vae", recipe.vae, recipe.elbo, {"epoch": 3})
    with pytest.raises(ModelError, match="unknown setting 'epoch'; did you mean 'epochs'"):
        train(broken, small_data())


def test_an_out_dir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(CheckpointError, match="run"):
        train(small_vae(), small_data(), out_dir=tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_a_batch_as_large_as_the_data_is_fine():
    assert list(train(small_vae(), small_data(), batch_size=N, epochs=2).history["step"]) == [1, 2]


def test_without_a_batch_size_few_data_are_one_batch():
    result = train(small_vae(), small_data(), batch_size=None)
    assert result.manifest["settings"]["batch_size"] == 50
    assert result.history["step"].tolist() == [1, 2, 3]
    many = train(small_vae(), small_data(300), batch_size=None, epochs=1)
    assert many.manifest["settings"]["batch_size"] == 128
    with pytest.raises(DataError, match="batch_size 51 is larger than the 50 data"):
        train(small_vae(), small_data(), batch_size=51)


def test_a_saved_model_is_no_run_to_resume(tmp_path):
    small_vae(seed=7).save(tmp_path)
    before = files(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds a model \(weights\.safetensors\) but no checkpoint"):
        train(small_vae(), small_data(), out_dir=tmp_path, resume=True)
    assert files(tmp_path) == before


def test_every_batch_of_the_users_own_is_judged():
    binary, grey = small_dataset("dynamic").test.x, small_dataset("dynamic").train.x
    with pytest.raises(DataError, match="bernoulli"):
        train(small_vae(likelihood="bernoulli"), [binary, grey])


@pytest.mark.parametrize("split", ["train", "test"])
def test_values_of_a_dataset_that_are_not_finite_are_refused(split):
    dataset = small_dataset()
    getattr(dataset, split).x[5, 2] = math.nan
    with pytest.raises(DataError, match=r"NaN or infinite values, the first at index \[5, 2\]"):
        train(small_vae(), dataset)


def test_values_that_cannot_be_binarised_in_every_batch_are_refused():
    dataset = small_dataset("dynamic")
    dataset.train.x[30, 0] = 2.0
    with pytest.raises(DataError, match=r"values outside \[0, 1\]"):
        train(small_vae(likelihood="bernoulli"), dataset)


def test_an_objective_starts_anew_in_every_run():
    objective = inf.ScoreFunction(2, baseline="running")
    require_same(train(small_vae(), small_data(), elbo=objective), train(small_vae(), small_data(), elbo=objective))


def test_an_error_leaves_the_model_in_evaluation_mode():
    vae = small_vae()
    with pytest.raises(ConvergenceError):
        train(vae, small_data(), elbo=BreaksAt(2))
    assert not any(module.training for module in vae.modules())


@pytest.mark.parametrize("objective", [inf.MMD("analytic-kl"), inf.DIP("analytic-kl")])
def test_a_last_batch_that_is_too_small_is_told_before_training(objective):
    vae = small_vae()
    before = weight_bytes(vae)
    with pytest.raises(ModelError, match="needs batches of at least 2 data, but with batch_size 7 one batch has 1"):
        train(vae, small_data(), elbo=objective, batch_size=7)
    assert weight_bytes(vae) == before


def test_a_loss_that_is_not_finite_names_the_scale_of_counts():
    counts = torch.randint(0, 3, (N, D)).float()
    counts[0, 0] = 28_000.0
    with pytest.raises(ConvergenceError, match=r"log_likelihood = .*the data are counts to 28,000 .*log\(1 \+ x\)"):
        train(small_vae(likelihood="poisson"), counts, elbo=BreaksAt(1))


# Where torch takes no gradients ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_training_and_comparing_take_gradients_wherever_they_are_called(without):
    expected, trained = train(small_vae(), small_data()).model, small_vae()
    with without():
        x = small_data()
        train(trained, x)
        table = pv.compare_estimators(
            trained, x[:8], ["analytic-kl", "monte-carlo-kl"], num_repeats=3, progress=False
        )
        assert not torch.is_grad_enabled()
    assert weight_bytes(trained) == weight_bytes(expected)
    assert np.isfinite(table.gradient_variance).all()


def test_data_made_in_inference_mode_train():
    with torch.inference_mode():
        x = small_data()
        model = small_vae()
    require_same(train(small_vae(), x), train(small_vae(), small_data()))
    for call in (lambda: train(model, x), lambda: pv.evaluate(model, x), lambda: pv.log_evidence(model, x)):
        with pytest.raises(ModelError, match=r"parameters of \w+ were made in torch\.inference_mode\(\)"):
            call()
