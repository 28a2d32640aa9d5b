import json

import pytest
import torch

import ppl_vae as pv
from ppl_vae.inference.training.selection import Selection
from tests.inference.small_runs import N, small_data, small_dataset, small_vae, train, weight_bytes

#: Large steps, so that the validation ELBO goes up and down.
ROUGH = {"lr": 0.1, "epochs": 60}


def played(scores, patience):
    """The selection after a run with these validation scores, and how many epochs it ran."""
    selection = Selection(patience)
    for epoch, score in enumerate(scores, start=1):
        selection.offer(score, epoch, lambda epoch=epoch: {"epoch": torch.tensor(epoch)})
        if selection.exhausted(epoch):
            return selection, epoch
    return selection, len(scores)


@pytest.mark.parametrize(
    ("scores", "patience", "best", "stopped"),
    [
        ([-3.0, -2.0, -1.0], 1, 3, 3),
        ([-3.0, -1.0, -2.0, -0.5], 1, 2, 3),
        ([-3.0, -1.0, -2.0, -0.5], 2, 4, 4),
        ([-3.0, -1.0, -1.0, -1.0, -1.0], 2, 2, 4),
        ([-1.0, -2.0, -3.0, -4.0], None, 1, 4),
    ],
)
def test_keeps_the_best_and_stops_when_patience_runs_out(scores, patience, best, stopped):
    selection, epochs = played(scores, patience)
    assert (selection.epoch, epochs) == (best, stopped)
    assert selection.score == scores[best - 1]
    assert selection.weights["epoch"].item() == best


def test_a_score_that_is_not_a_number_is_never_the_best():
    selection, _ = played([-2.0, float("nan"), -3.0], None)
    assert selection.epoch == 1


def best_epoch(result):
    return int(result.history["epoch"][result.history["validation_elbo"].idxmax()])


@pytest.mark.slow
def test_patience_stops_on_a_seeded_tenth_of_the_training_data():
    result = train(small_vae(), small_data(), patience=2, **ROUGH)
    assert result.epochs_run < 60
    assert result.best_epoch == best_epoch(result) == result.epochs_run - 2
    assert result.manifest["data"]["validation"] == "a random 0.1 of the training data (5), seed 0"
    assert (result.manifest["data"]["train_size"], result.manifest["data"]["validation_size"]) == (N - 5, 5)


@pytest.mark.slow
@pytest.mark.parametrize("patience", [2, None])
def test_the_best_weights_are_put_back(patience):
    held_out = small_data(30, seed=4)
    result = train(small_vae(), small_data(), validation=held_out, patience=patience, **ROUGH)
    assert result.best_epoch == best_epoch(result) < result.epochs_run
    now = pv.evaluate(result.model, held_out, seed=0).summary()["elbo"]
    assert now == result.history["validation_elbo"].max()
    # They are the weights of a run that ended there.
    short = train(small_vae(), small_data(), **{**ROUGH, "epochs": result.best_epoch})
    assert weight_bytes(result.model) == weight_bytes(short.model)


def test_patience_of_zero_switches_a_recipe_s_own_off():
    recipe = pv.make("conv-vae", (6,), latent_dim=1, network="mlp")
    assert recipe.settings["patience"] == 2
    result = pv.fit(recipe, small_data().sigmoid(), patience=0, epochs=1, progress=False)
    assert result.manifest["settings"]["patience"] is None
    assert "validation_elbo" not in result.history


@pytest.mark.slow
def test_patience_that_does_not_run_out_changes_nothing():
    watched = train(small_vae(), small_data(), validation=0.2, patience=50, epochs=5)
    unwatched = train(small_vae(), small_data(), validation=0.2, epochs=5)
    assert weight_bytes(watched.model) == weight_bytes(unwatched.model)


@pytest.mark.slow
def test_the_test_split_never_chooses_unless_asked_by_name():
    dataset = small_dataset()
    silent = train(small_vae(), dataset, **ROUGH)
    assert silent.best_epoch == silent.epochs_run == 60
    assert silent.history["test_elbo"].idxmax() + 1 < 60
    assert silent.manifest["data"]["validation"] == "none"
    patient = train(small_vae(), dataset, patience=3, **ROUGH)
    assert patient.manifest["data"]["validation"].startswith("a random 0.1 of the training data")
    assert patient.best_epoch == best_epoch(patient)


@pytest.mark.slow
def test_the_manifest_says_that_the_test_split_chose(tmp_path):
    result = train(small_vae(), small_dataset(), validation="test", out_dir=tmp_path, **ROUGH)
    assert result.manifest["data"]["validation"] == "test"
    assert json.loads((tmp_path / "manifest.json").read_text())["data"]["validation"] == "test"
    assert result.history["validation_elbo"].tolist() == result.history["test_elbo"].tolist()
    assert result.best_epoch == result.history["test_elbo"].idxmax() + 1


def test_validation_data_are_not_trained_on():
    x = small_data()
    held = train(small_vae(), x, validation=0.2)
    assert list(held.history["step"]) == [3, 6, 9]
    assert held.manifest["data"]["train_size"] == 40


@pytest.mark.slow
def test_beta_does_not_choose():
    """The weights are chosen by the plain ELBO, also where the objective is another."""
    result = train(small_vae(), small_data(), elbo=pv.inference.Beta("analytic-kl", 20.0), validation=0.3, **ROUGH)
    assert result.best_epoch == best_epoch(result)
    assert result.history["loss"].idxmin() + 1 != result.best_epoch
