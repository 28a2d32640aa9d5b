"""Loaders draw from torch's global generator; what only looks at their batches leaves it as it was."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import ppl_vae as pv
from ppl_vae.inference.pair.stream import in_own_stream
from tests.inference.small_runs import small_data, small_vae, train


def shuffled(size=8):
    return DataLoader(TensorDataset(small_data()), batch_size=size, shuffle=True)


@pytest.mark.parametrize(
    "look",
    [
        lambda pair, data: pv.evaluate(pair, data, seed=3).elbo,
        lambda pair, data: pv.log_evidence(pair, data, num_samples=4, seed=3).per_datum,
        lambda pair, data: torch.from_numpy(pv.diagnostics.run_importance(pair, data, 30, seed=3)["khat"].values),
    ],
    ids=["evaluate", "log_evidence", "run_importance"],
)
def test_the_order_of_a_shuffling_loader_is_of_the_seed_alone(look):
    pair, found = small_vae(), []
    for state in (0, 1):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        found.append(look(pair, shuffled()))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*found)


def test_training_is_the_same_whatever_the_validation_data_come_in():
    """Started anew every epoch, the loader took a number from the stream of the training's own draws."""
    alone = train(small_vae(), small_data(), epochs=3)
    watched = train(small_vae(), small_data(), epochs=3, validation=shuffled(), patience=50)
    assert watched.history["train_elbo"].tolist() == alone.history["train_elbo"].tolist()
    assert {"validation_elbo"} <= set(watched.history.columns)


def test_the_stream_goes_on_from_batch_to_batch_and_an_order_is_a_permutation():
    rows = [batch for (batch,) in in_own_stream(shuffled(), 5)]
    again = [batch for (batch,) in in_own_stream(shuffled(), 5)]
    other = [batch for (batch,) in in_own_stream(shuffled(), 6)]
    assert all(torch.equal(a, b) for a, b in zip(rows, again, strict=True))
    assert not torch.equal(torch.cat(rows), torch.cat(other))
    assert torch.equal(torch.cat(rows).sort(0).values, small_data().sort(0).values)

    class Noise:
        def __iter__(self):
            return (torch.rand(2) for _ in range(3))

    assert len({tuple(draw.tolist()) for draw in in_own_stream(Noise(), 5)}) == 3
