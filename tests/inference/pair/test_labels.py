"""Labels reach the programs beside their own data: in every kind of step, in evaluations and in evidence."""

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.data import Dataset, Split
from ppl_vae.errors import CheckpointError, DataError, ModelError
from ppl_vae.inference.pair.active_units import code_variance
from ppl_vae.inference.pair.covariates import at_covariates
from ppl_vae.inference.pair.pair import as_pair
from ppl_vae.inference.training.pieces import Pieces
from ppl_vae.inference.training.training_data import training_data
from tests.inference.small_runs import BATCH, require_same, small_data, small_vae, train

C, D, L, N = 3, 4, 2, 50

# What fit asks for a way to take its steps.
LOOP_CHOICE = "ppl_vae.inference.training.run_steps.choose"


class LabelledModel(nn.Module):
    """z ~ N(0, I), x ~ N(W z + b_y, I)."""

    takes_labels, num_classes = True, C

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.eye(L, D)), nn.Parameter(torch.zeros(C, D))

    def forward(self, x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(L), 1).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.weight + self.bias[y], 1).to_event(1), obs=x)


class LabelledGuide(nn.Module):
    def __init__(self):
        super().__init__()
        self.loc, self.shift = nn.Linear(D, L), nn.Parameter(torch.zeros(C, L))

    def forward(self, x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.loc(x) + self.shift[y], 0.8).to_event(1))


def labelled_pair():
    torch.manual_seed(0)
    return LabelledModel(), LabelledGuide()


def labelled_data(n=N, seed=0):
    """Every datum lies 10 y away from the origin, so that a label beside another's datum costs tens of nats."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(C, (n,), generator=generator)
    return 10.0 * y.unsqueeze(-1) + torch.randn(n, D, generator=generator), y


def fitting_pair():
    """A pair whose means are those of the classes; its guide has the posterior's mean, and a width of its own."""
    model, guide = labelled_pair()
    with torch.no_grad():
        model.bias.copy_(10.0 * torch.arange(C).unsqueeze(-1).expand(C, D))
        guide.loc.weight.copy_(model.weight / 2)
        guide.loc.bias.zero_()
        guide.shift.copy_(-model.bias @ model.weight.T / 2)
    return model, guide


def weights(result):
    return [parameter.detach().clone() for half in result.model for parameter in half.parameters()]


@pytest.mark.parametrize("mode", ["eager", "traced", pytest.param("compiled", marks=pytest.mark.slow)])
def test_labels_stay_beside_their_data_in_every_kind_of_step(mode, monkeypatch):
    """Under the labels of other data the ELBO would be lower by hundreds of nats; all modes take the same steps."""
    monkeypatch.setattr(LOOP_CHOICE, lambda *_: inf.compilation.step_choice.Choice(mode, ""))
    # Asked for by name, so that the run waits for the compiler.
    result = train(fitting_pair(), labelled_data(), lr=1e-3, compile=mode == "compiled" or "auto")
    assert result.manifest["compile"] == mode
    assert (result.history["train_elbo"] > -15).all()
    monkeypatch.undo()
    expected = train(fitting_pair(), labelled_data(), lr=1e-3, compile=False)
    for ours, theirs in zip(weights(result), weights(expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_dataset_a_split_a_tuple_arrays_and_batches_train_alike():
    x, y = labelled_data()
    narrow = y.numpy().astype(np.uint8)
    narrow.flags.writeable = False
    whole = [Dataset("d", Split(x, y), Split(x, y)), Split(x, y), (x, y), (x.numpy(), narrow)]
    losses = [train(labelled_pair(), data).history["loss"].tolist() for data in whole]
    assert losses[1:] == losses[:-1]
    batches = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    own = train(labelled_pair(), batches, validation=(x, y))
    other = train(labelled_pair(), [[a, b.tolist()] for a, b in batches], validation=Split(x, y))
    assert own.history["validation_elbo"].tolist() == other.history["validation_elbo"].tolist()


def test_validation_and_test_splits_carry_their_labels():
    """An evaluation under the labels of other data would be lower by hundreds of nats."""
    data = Dataset("d", Split(*labelled_data()), Split(*labelled_data(12, seed=1)))
    row = train(fitting_pair(), data, epochs=1, lr=1e-6, validation=0.2).history.iloc[0]
    assert row["validation_elbo"] > -30
    assert row["test_elbo"] > -30
    wrong = Split(data.test.x, (data.test.y + 1) % C)
    assert pv.evaluate(fitting_pair(), wrong.x, y=wrong.y).elbo.mean() < -100


def test_dynamic_binarisation_draws_the_data_and_not_their_labels():
    x, y = labelled_data()
    grey = Dataset("d", Split(x.sigmoid(), y), Split((x > 0).float(), y), binarization="dynamic")
    found = training_data(grey, None, BATCH, 0, Pieces.of(as_pair(labelled_pair())))
    batches = list(found.epoch(1, BATCH, 0))
    order = torch.cat([labels for _, labels in batches])
    assert set(torch.cat([drawn for drawn, _ in batches]).unique().tolist()) <= {0.0, 1.0}
    assert order.dtype == torch.int64
    assert torch.equal(order.sort().values, y.sort().values)


@pytest.mark.slow
def test_numbers_do_not_depend_on_where_passes_over_labelled_data_are_cut(monkeypatch):
    pair, (x, y) = fitting_pair(), labelled_data()
    evidence = pv.log_evidence(pair, x, y=y, num_samples=64).per_datum
    cut = pv.log_evidence(pair, x, y=y, num_samples=64, memory_limit=1 << 10).per_datum
    torch.testing.assert_close(cut, evidence, rtol=1e-5, atol=1e-4)
    spread = code_variance(*pair, x, 2, (y,))
    monkeypatch.setattr("ppl_vae.inference.pair.evaluation.CHUNK_NUMBERS", 7 * D)
    torch.testing.assert_close(code_variance(*pair, x, 2, (y,)), spread)
    assert pv.evaluate(pair, x, y=y).elbo.min() > -60


@pytest.mark.slow
@pytest.mark.parametrize("method", ["importance", "jackknife", "ais"])
def test_evidence_given_labels_agrees_with_the_closed_form(method):
    """log N(x; b_y, W'W + I), within 4 standard errors of the draws and 0.01 nats for the bound's bias."""
    pair, (x, y) = fitting_pair(), labelled_data(4)
    weight = pair[0].weight.detach()
    marginal = torch.distributions.MultivariateNormal(pair[0].bias.detach()[y], weight.T @ weight + torch.eye(D))
    annealing = {"num_temperatures": 50} if method == "ais" else {}
    found = pv.log_evidence(pair, x, method, y=y, **annealing)
    assert ((found.per_datum - marginal.log_prob(x)).abs() < 4 * found.per_datum_stderr + 0.01).all()


@pytest.mark.slow
def test_a_stop_and_a_resume_with_labels_are_one_run(tmp_path):
    data = labelled_data()
    whole = train(labelled_pair(), data, epochs=4, validation=0.2)
    train(labelled_pair(), data, epochs=2, validation=0.2, out_dir=tmp_path)
    resumed = train(labelled_pair(), data, epochs=4, validation=0.2, out_dir=tmp_path, resume=True)
    assert resumed.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))
    for ours, theirs in zip(weights(resumed), weights(whole), strict=True):
        assert torch.equal(ours, theirs)
    relabelled = data[0], (data[1] + 1) % C
    with pytest.raises(CheckpointError, match="train_labels_sha256"):
        train(labelled_pair(), relabelled, epochs=5, validation=0.2, out_dir=tmp_path, resume=True)


@pytest.mark.slow
def test_a_pair_that_takes_no_labels_never_sees_them():
    x = small_data()
    plain = Dataset("d", Split(x), Split(x))
    labelled = Dataset("d", Split(x, torch.arange(len(x))), Split(x, torch.arange(len(x))))
    first, second = (train(small_vae(), data) for data in (plain, labelled))
    require_same(first, second)
    assert first.manifest["data"] == second.manifest["data"]
    assert torch.equal(pv.evaluate(first.model, x, y=x[:3]).elbo, pv.evaluate(first.model, x).elbo)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", ">i4"])
def test_labels_of_every_integer_type(dtype):
    pair, x, y = (LabelledModel(), LabelledGuide()), torch.randn(6, D), torch.tensor([0, 1, 2, 2, 1, 0])
    found = pv.evaluate(pair, x, y=y.numpy().astype(dtype))
    assert torch.equal(found.elbo, pv.evaluate(pair, x, y=y).elbo)


MISSING = "takes labels: expected y, integers"
REFUSED = {
    "a tensor": (lambda pair, x, y: train(pair, x), ModelError, MISSING),
    "a data set": (
        lambda pair, x, y: train(pair, Dataset("plain", Split(x, y), Split(x))),
        ModelError,
        f"{MISSING}.*data set 'plain', test split came without any",
    ),
    "batches": (lambda pair, x, y: train(pair, [x]), ModelError, "a batch came without any"),
    "validation": (
        lambda pair, x, y: train(pair, (x, y), validation=x),
        ModelError,
        "the validation data came without any",
    ),
    "evaluate": (lambda pair, x, y: pv.evaluate(pair, x), ModelError, MISSING),
    "log_evidence": (lambda pair, x, y: pv.log_evidence(pair, x), ModelError, MISSING),
    "a loss": (lambda pair, x, y: inf.AnalyticKL()(*pair)(x), ModelError, MISSING),
    "a diagnosis": (
        lambda pair, x, y: pv.inference_data(pair, x),
        ModelError,
        MISSING,
    ),
    "a comparison": (
        lambda pair, x, y: pv.compare_estimators(pair, x, num_repeats=2, progress=False),
        ModelError,
        MISSING,
    ),
    "another length": (
        lambda pair, x, y: train(pair, (x, y[:-1])),
        DataError,
        r"y of the training data: expected one label for each of 50 data, found \[49\]",
    ),
    "floats": (
        lambda pair, x, y: pv.evaluate(pair, x, y=y.float()),
        DataError,
        r"expected integers \[N\], found torch.float32",
    ),
    "words": (lambda pair, x, y: pv.evaluate(pair, x, y=["a"] * N), DataError, "expected integers"),
    "a class too many": (
        lambda pair, x, y: train(pair, (x, y + 1)),
        DataError,
        r"expected labels 0, \.\.\., 2, found values from 1 to 3",
    ),
    "a missing label": (
        lambda pair, x, y: pv.evaluate(pair, x, y=torch.where(torch.arange(N) < 2, -1, y)),
        DataError,
        r"2 of 50 labels are missing \(-1\)",
    ),
    "a later batch": (
        lambda pair, x, y: train(pair, [(x, y), (x, y - 5)]),
        DataError,
        "found values from -5",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_labels_that_do_not_fit_are_refused_by_name(case):
    act, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        act(labelled_pair(), *labelled_data())


def test_a_model_that_allows_missing_labels_takes_them_and_still_no_other():
    model, guide = labelled_pair()
    model.allows_missing_labels = True
    x, y = labelled_data()
    y[0] = -1
    assert pv.evaluate((model, guide), x, y=y).elbo.shape == (N,)
    with pytest.raises(DataError, match=r"expected labels 0, \.\.\., 2, found values from -2"):
        pv.evaluate((model, guide), x, y=y.clamp(max=-1) - 1)
    with pytest.raises(ModelError, match=MISSING):
        train((model, guide), x)


def test_a_program_at_labels_is_a_program_of_x_alone():
    (model, guide), (x, y) = fitting_pair(), labelled_data()
    expected = inf.trace_terms(model, guide, x, y, gradient="score")
    torch.manual_seed(0)
    found = inf.trace_terms(at_covariates(model, (y,)), at_covariates(guide, (y,)), x, gradient="score")
    assert found.log_likelihood.shape == expected.log_likelihood.shape
    values = {"z": expected.sites["z"].value}
    torch.testing.assert_close(
        inf.pair.joint.log_joint(at_covariates(model, (y,)), x, values).log_likelihood, expected.log_likelihood
    )
