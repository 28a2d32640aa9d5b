import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from ppl_vae import inference as inf
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.training.training_data import training_data
from tests.inference.small_runs import BATCH, D, N, require_same, small_data, small_dataset, small_vae, train


class Watching(inf.AnalyticKL):
    """AnalyticKL that keeps the data of every step, from the log likelihood's own argument."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, terms, step=None):
        self.sizes.append(terms.log_likelihood.shape[1])
        return super().forward(terms, step)


def epochs_of(data, count=2, seed=0, batch_size=BATCH):
    return [[x for (x,) in data.epoch(epoch, batch_size, seed)] for epoch in range(1, count + 1)]


def test_an_epoch_has_every_datum_once():
    x = torch.arange(N, dtype=torch.float32)[:, None]
    for batches in epochs_of(training_data(x, None, BATCH, 0)):
        assert [len(batch) for batch in batches] == [16, 16, 16, 2]
        assert torch.equal(torch.cat(batches).sort(0).values, x)


def test_the_order_depends_on_seed_and_epoch_alone():
    data = training_data(torch.arange(N, dtype=torch.float32)[:, None], None, BATCH, 0)
    first, second = (torch.cat(batches).flatten() for batches in epochs_of(data))
    torch.manual_seed(99)
    again = torch.cat(epochs_of(data, 1)[0]).flatten()
    other = torch.cat(epochs_of(data, 1, seed=1)[0]).flatten()
    assert torch.equal(first, again)
    assert (first == second).float().mean() < 0.3
    assert (first == other).float().mean() < 0.3


def test_dynamic_binarisation_draws_anew_in_every_batch_and_leaves_the_data_grey():
    dataset = small_dataset("dynamic")
    grey = dataset.train.x.clone()
    data = training_data(dataset, None, BATCH, 0)
    orders = [torch.randperm(N) for _ in range(2)]
    draws = []
    for epoch, _ in enumerate(orders, start=1):
        batches = [x for (x,) in data.epoch(epoch, N, 0)]
        draws.append(batches[0])
        assert set(batches[0].unique().tolist()) == {0.0, 1.0}
    # The same data in another order: sorting the column sums would hide a draw that is only permuted.
    assert sorted(draws[0].sum(1).tolist()) != sorted(draws[1].sum(1).tolist())
    assert torch.equal(dataset.train.x, grey)
    assert torch.equal(data.x, grey)
    assert ((grey > 0) & (grey < 1)).all()


def test_dynamic_draws_have_the_grey_values_as_their_means():
    dataset = small_dataset("dynamic")
    data = training_data(dataset, None, BATCH, 0)
    torch.manual_seed(0)
    sums, epochs = torch.zeros(D), 400
    for epoch in range(1, epochs + 1):
        for (batch,) in data.epoch(epoch, N, 0):
            sums += batch.sum(0)
    grey = dataset.train.x
    z = (sums / epochs - grey.sum(0)) / ((grey * (1 - grey)).sum(0) / epochs).sqrt()
    assert z.abs().max() < 4.5


def test_the_split_is_seeded_disjoint_and_complete():
    x = torch.arange(N, dtype=torch.float32)[:, None]
    parts = [training_data(x, 0.2, BATCH, seed) for seed in (0, 0, 1)]
    assert [(len(p.x), len(p.validation[0])) for p in parts] == [(40, 10)] * 3
    assert torch.equal(torch.cat([parts[0].x, *parts[0].validation]).sort(0).values, x)
    assert torch.equal(parts[0].validation[0], parts[1].validation[0])
    assert not torch.equal(parts[0].validation[0], parts[2].validation[0])


def test_validation_of_dynamic_data_is_drawn_once_to_zeros_and_ones():
    dataset = small_dataset("dynamic")
    first, second = (training_data(dataset, 0.2, BATCH, 0) for _ in range(2))
    assert set(first.validation[0].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(first.validation[0], second.validation[0])
    assert "seed 0" in first.validation_name


def test_validation_on_test_only_by_name():
    dataset = small_dataset()
    assert training_data(dataset, None, BATCH, 0).validation is None
    assert training_data(dataset, 0.2, BATCH, 0).validation_name != "test"
    by_name = training_data(dataset, "test", BATCH, 0)
    assert by_name.validation_name == "test"
    assert torch.equal(by_name.validation[0], dataset.test.x)
    assert len(by_name.x) == N


@pytest.mark.slow
def test_a_tensor_an_array_and_a_dataset_train_alike():
    x = small_data()
    results = [train(small_vae(), data) for data in (x, x.numpy(), x.double().numpy(), x.double())]
    for other in results[1:]:
        require_same(results[0], other)
    with_test = train(small_vae(), small_dataset())
    assert with_test.history["loss"].tolist() == results[0].history["loss"].tolist()


def test_a_read_only_array_is_taken_as_it_is():
    x = small_data().numpy()
    x.flags.writeable = False
    require_same(train(small_vae(), x), train(small_vae(), small_data()))


def test_whole_numbers_are_taken_as_floats():
    counts = (small_data() * 3).round()
    require_same(train(small_vae(), counts.long()), train(small_vae(), counts))


def loaders():
    x, labels = small_data(), torch.arange(N)
    parts = x.split(BATCH)
    return {
        "list of tensors": list(parts),
        "list of arrays": [part.numpy() for part in parts],
        "list of float64 arrays": [part.double().numpy() for part in parts],
        "list of (x, y)": list(zip(parts, labels.split(BATCH), strict=True)),
        "DataLoader of x": DataLoader(x, batch_size=BATCH),
        "DataLoader of [x, y]": DataLoader(TensorDataset(x, labels), batch_size=BATCH),
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", loaders())
def test_batches_of_every_form_train_alike(kind):
    watching = Watching()
    result = train(small_vae(), loaders()[kind], elbo=watching)
    assert watching.sizes == [16, 16, 16, 2] * 3
    expected = train(small_vae(), list(small_data().split(BATCH)))
    # One seed, one stream of draws: but a DataLoader takes its own seed from that stream.
    if kind.startswith("DataLoader"):
        np.testing.assert_allclose(result.history["loss"], expected.history["loss"], rtol=0.1)
    else:
        require_same(result, expected)


def test_a_shuffling_loader_is_seeded_by_fit_and_leaves_the_global_stream_alone():
    results, before = [], torch.get_rng_state()
    for _ in range(2):
        loader = DataLoader(TensorDataset(small_data()), batch_size=BATCH, shuffle=True)
        results.append(train(small_vae(), loader, num_threads=None))
        assert torch.equal(torch.get_rng_state(), before)
    require_same(*results)


def test_batches_take_a_validation_tensor_but_no_fraction():
    batches = list(small_data().split(BATCH))
    result = train(small_vae(), batches, validation=small_data(9, seed=2))
    assert "validation_elbo" in result.history
    with pytest.raises(ModelError, match="data in one tensor"):
        train(small_vae(), batches, validation=0.1)
    with pytest.raises(ModelError, match="data in one tensor"):
        train(small_vae(), batches, patience=2)


def test_a_batch_of_another_shape_is_named():
    with pytest.raises(ModelError, match=r"expected data of shape \[N, 6\], got \[4, 5\]"):
        train(small_vae(), [small_data(), torch.zeros(4, 5)])


def test_an_empty_loader_is_refused():
    with pytest.raises(DataError, match="empty"):
        train(small_vae(), DataLoader(TensorDataset(torch.zeros(0, D)), batch_size=4))


def test_a_fraction_may_be_numpys():
    x = small_data()
    for fraction in (np.float32(0.5), np.float64(0.5)):
        assert len(training_data(x, fraction, BATCH, 0).validation[0]) == N // 2


@pytest.mark.parametrize("n", [1, 2])
def test_a_validation_split_leaves_something_to_train_on(n):
    x = small_data()[:n]
    if n == 1:
        with pytest.raises(ModelError, match=r"validation=0\.1 of 1 data leaves none to train on"):
            train(small_vae(), x, batch_size=None, patience=2)
    else:
        result = train(small_vae(), x, batch_size=None, patience=2)
        assert np.isfinite(result.history[["train_elbo", "validation_elbo"]]).all(axis=None)


def test_a_map_style_dataset_is_pointed_to_a_loader():
    with pytest.raises(DataError, match=r"got TensorDataset; give torch\.utils\.data\.DataLoader"):
        train(small_vae(), TensorDataset(small_data()))


class Once:
    """What streaming loaders do: the same iterator again."""

    def __init__(self):
        self.batches = iter(small_data().split(BATCH))

    def __iter__(self):
        return self.batches


class Streaming(IterableDataset):
    """Data without a length, as often as one asks."""

    def __iter__(self):
        return iter(small_data())


class UsedUp(IterableDataset):
    """Data without a length, once."""

    def __init__(self):
        self.data = iter(small_data(400))

    def __iter__(self):
        return self.data


def test_a_loader_without_a_length_is_every_epochs_loader():
    result = train(small_vae(), DataLoader(Streaming(), batch_size=BATCH), epochs=2)
    assert result.history.step.tolist() == [4, 8]


@pytest.mark.parametrize(
    ("data", "words"),
    [(Once(), "Once gives the same iterator again"), (DataLoader(UsedUp(), BATCH), "no batch in epoch 2")],
)
def test_batches_that_one_epoch_uses_up_are_refused(data, words):
    with pytest.raises(DataError, match=words):
        train(small_vae(), data)


def test_one_batch_of_all_data_keeps_their_order():
    batches = training_data(small_data(), None, None, 0).epoch(1, N, 0)
    (batch,) = list(batches)
    assert torch.equal(batch[0], small_data())
