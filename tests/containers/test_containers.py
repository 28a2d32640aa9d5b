"""One set of values in every container: one history, the same numbers, and the names that it came with."""

import importlib.util
import warnings
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
import xarray as xr
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import ppl_vae as pv
from ppl_vae import containers, diagnostics
from ppl_vae.errors import ConvergenceError, DataError, ModelError
from ppl_vae.networks import MLP

N, D = 60, 5
X = np.random.default_rng(0).poisson(1.5, (N, D)).astype(np.float32)
NAMES = [f"p{i}" for i in range(N)]
COLUMNS = list("abcde")
FRAME = pd.DataFrame(X, index=NAMES, columns=COLUMNS)
ARRAY = xr.DataArray(X, dims=("cell", "gene"), coords={"cell": NAMES, "gene": COLUMNS})
ARRAYS = xr.Dataset({"counts": ARRAY})
SPARSE = scipy.sparse.csr_matrix(X)


def annotated(x):
    """What an AnnData object has, as far as it is read."""
    obs = pd.DataFrame({"batch": np.arange(N) % 3}, index=NAMES)
    return SimpleNamespace(X=x, obs=obs, obs_names=obs.index, var_names=pd.Index(COLUMNS))


class Columnar:
    """What a data set of Hugging Face's has, as far as it is read."""

    column_names = ("x",)

    def with_format(self, kind):
        assert kind == "numpy"
        return self

    def __len__(self):
        return N

    def __getitem__(self, name):
        return {"x": X}[name]


class ColumnsAlone:
    """A frame as polars has it: named columns, no names of rows."""

    def __init__(self, frame):
        self.frame, self.columns = frame, list(frame.columns)

    def to_numpy(self):
        return self.frame.to_numpy()

    def __array__(self, dtype=None, copy=None):
        return self.frame.to_numpy().astype(dtype or np.float32)

    def __len__(self):
        return len(self.frame)

    def __getitem__(self, name):
        return self.frame[name].to_numpy()

    def drop(self, columns):
        return ColumnsAlone(self.frame.drop(columns=columns))


def h5ad(path, x, encoding):
    """An .h5ad file by the published format, https://anndata.readthedocs.io."""
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        if encoding == "array":
            file["X"] = x
        else:
            group = file.create_group("X")
            group.attrs.update({"encoding-type": f"{encoding}_matrix", "shape": x.shape})
            stored = getattr(scipy.sparse, f"{encoding}_matrix")(x)
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(stored, name)
        obs, var = file.create_group("obs"), file.create_group("var")
        obs.attrs["_index"], var.attrs["_index"] = "cell", "_index"
        obs.create_dataset("cell", data=np.array(NAMES, object), dtype=text)
        obs["batch"] = np.arange(N) % 3
        kind = obs.create_group("kind")
        kind["codes"] = np.arange(N) % 2
        kind.create_dataset("categories", data=np.array(["b", "t"], object), dtype=text)
        var.create_dataset("_index", data=np.array(COLUMNS, object), dtype=text)
    return path


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """By name: the container, and the names of rows and columns that it has."""
    folder = tmp_path_factory.mktemp("containers")
    np.save(folder / "x.npy", X)
    FRAME.to_csv(folder / "x.csv", index=False)
    FRAME.to_csv(folder / "x.tsv", index=False, sep="\t")
    return {
        "tensor": (torch.tensor(X), None, None),
        "array": (X, None, None),
        "memmap": (np.load(folder / "x.npy", mmap_mode="r"), None, None),
        "frame": (FRAME, NAMES, COLUMNS),
        "nullable frame": (FRAME.astype("Float32"), NAMES, COLUMNS),
        "mixed dtypes": (FRAME.astype({"a": "int64", "b": "float64", "c": "uint8"}), NAMES, COLUMNS),
        "a frame without names of rows": (ColumnsAlone(FRAME), None, COLUMNS),
        "DataArray": (ARRAY, NAMES, COLUMNS),
        "Dataset": (ARRAYS, NAMES, COLUMNS),
        "csr": (SPARSE, None, None),
        "csc": (scipy.sparse.csc_array(X), None, None),
        "coo with a cell in two parts": (_in_two_parts(), None, None),
        "annotated": (annotated(SPARSE), NAMES, COLUMNS),
        "annotated, dense": (annotated(X), NAMES, COLUMNS),
        "columnar": (Columnar(), None, None),
        "csv": (str(folder / "x.csv"), None, COLUMNS),
        "tsv": (folder / "x.tsv", None, COLUMNS),
        "h5ad csr": (h5ad(folder / "r.h5ad", X, "csr"), NAMES, COLUMNS),
        "h5ad csc": (h5ad(folder / "c.h5ad", X, "csc"), NAMES, COLUMNS),
        "h5ad dense": (h5ad(folder / "d.h5ad", X, "array"), NAMES, COLUMNS),
    }


def _in_two_parts():
    row, column = np.nonzero(X)
    value = X[row, column]
    halves = np.concatenate([value - 1, np.ones_like(value)])
    return scipy.sparse.coo_matrix((halves, (np.tile(row, 2), np.tile(column, 2))), shape=X.shape)


def counts_vae():
    return pv.VAE((D,), 2, network=MLP((6,)), likelihood="poisson", seed=0)


def fit(data, pair=None, **options):
    settings = {"epochs": 2, "device": "cpu", "num_threads": 1, "progress": False}
    if not containers_of_batches(data):
        settings["batch_size"] = 16
    return pv.fit(pair or counts_vae(), data, **{**settings, **options})


def containers_of_batches(data):
    return isinstance(data, list | DataLoader)


def history(result):
    return result.history.drop(columns="seconds")


@pytest.fixture(scope="module")
def told():
    """What the values say as a tensor."""
    result = fit(torch.tensor(X), validation=0.2)
    model = result.model
    evidence = pv.log_evidence(model, torch.tensor(X), num_samples=64).per_datum
    return model, history(result), pv.evaluate(model, torch.tensor(X)).elbo, evidence


KINDS = [
    "tensor", "array", "memmap", "frame", "nullable frame", "mixed dtypes", "a frame without names of rows",
    "DataArray", "Dataset", "csr", "csc", "coo with a cell in two parts", "annotated", "annotated, dense",
    "columnar", "csv", "tsv", "h5ad csr", "h5ad csc", "h5ad dense",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_values_give_the_same_numbers_and_their_names_come_out_again(kind, kinds, told):
    data, rows, columns = kinds[kind]
    model, expected, elbo, evidence = told
    pd.testing.assert_frame_equal(history(fit(data, validation=0.2)), expected, check_exact=True)
    assert torch.equal(pv.evaluate(model, data).elbo, elbo)
    assert torch.equal(pv.log_evidence(model, data, num_samples=64).per_datum, evidence)
    numbers = diagnostics.run_importance(model, data, 30)
    assert numbers["datum"].values.tolist() == (rows or list(range(N)))
    drawn = pv.inference_data(model, data, 5)
    np.testing.assert_array_equal(drawn.observed_data["x"].to_numpy(), X)
    assert drawn.observed_data["pixel"].values.tolist() == (columns or list(range(D)))
    assert drawn.posterior["datum"].values.tolist() == (rows or list(range(N)))


def test_every_kind_is_tested(kinds):
    assert list(kinds) == KINDS


@pytest.mark.parametrize(
    ("library", "name"), [("polars", "polars"), ("anndata", "AnnData"), ("pyarrow", "parquet")]
)
def test_containers_of_libraries_that_need_not_be_there(library, name, told, tmp_path):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    model, expected, elbo, _ = told
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module(library)
        if library == "polars":
            data = module.DataFrame({column: X[:, i] for i, column in enumerate(COLUMNS)})
        elif library == "anndata":
            data = module.AnnData(SPARSE, pd.DataFrame(index=NAMES), pd.DataFrame(index=COLUMNS))
        else:
            data = tmp_path / "x.parquet"
            FRAME.to_parquet(data)
    pd.testing.assert_frame_equal(history(fit(data, validation=0.2)), expected, check_exact=True)
    assert torch.equal(pv.evaluate(model, data).elbo, elbo)
    assert pv.inference_data(model, data, 5).observed_data["pixel"].values.tolist() == COLUMNS


# Rows, which become dense in a batch -----------------------------------------------------------------------------


def of_sparse():
    return containers.opened(SPARSE).x


def of_file(tmp_path):
    np.save(tmp_path / "x.npy", X)
    return containers.opened(np.load(tmp_path / "x.npy", mmap_mode="r")).x


@pytest.mark.parametrize("make", [lambda _: of_sparse(), of_file], ids=["sparse", "on disk"])
def test_rows_are_those_of_the_dense_array(make, tmp_path):
    rows, whole = make(tmp_path), torch.tensor(X)
    picked = torch.tensor([5, 5, 0, 59])
    assert rows.shape == whole.shape
    assert torch.equal(rows[3:40:2], whole[3:40:2])
    assert torch.equal(rows[-1], whole[-1])
    assert torch.equal(rows.index_select(0, picked), whole[picked])
    some = rows.taken(picked)
    assert torch.equal(some[:], whole[picked])
    assert torch.equal(some.taken(torch.tensor([3, 1]))[:], whole[picked][[3, 1]])
    assert torch.equal(torch.cat(list(rows.split(7))), whole)
    assert rows.to(torch.device("cpu"), torch.float64)[:2].dtype == torch.float64
    assert (rows.dim(), rows.numel(), rows.element_size(), len(rows)) == (2, N * D, 4, N)


def test_empty_rows_and_columns_of_a_sparse_matrix():
    matrix = scipy.sparse.csr_matrix((3, 4), dtype=np.float32)
    assert torch.equal(containers.opened(matrix).x[:], torch.zeros(3, 4))
    matrix = scipy.sparse.csr_matrix(np.array([[0.0, 0, 2], [0, 0, 0], [1, 0, 0]]))
    assert containers.opened(matrix).x[torch.tensor([1, 2, 1, 0])].tolist() == [
        [0] * 3,
        [1, 0, 0],
        [0] * 3,
        [0, 0, 2],
    ]


def test_sparse_counts_stay_sparse_until_a_batch_is_made(monkeypatch):
    """No call in training makes more than a batch, or a block that is judged, dense."""
    largest = []
    own = containers.SparseRows.rows
    monkeypatch.setattr(containers.SparseRows, "rows", lambda s, i: largest.append(len(i)) or own(s, i))
    monkeypatch.setattr(containers.rows, "BLOCK_NUMBERS", 8 * D)
    monkeypatch.setattr(pv.inference.pair.evaluation, "CHUNK_NUMBERS", 12 * D)
    monkeypatch.setattr(pv.inference.pair.hidden_noise, "MOST_DATA", 8)
    pair = pv.VAE((D,), 2, network=MLP((6,)), likelihood="gaussian", seed=0)
    monkeypatch.setattr(importlib.import_module("ppl_vae.inference.fitting.fit"), "LARGEST_START", 8 * D)
    fit(SPARSE, pair, validation=0.2)
    pv.evaluate(pair, SPARSE)
    assert max(largest) == 16


def test_a_decoder_starts_at_the_rates_of_a_fair_sample_of_sorted_rows(monkeypatch):
    """Counts of rate 1, then of rate 20: a hundred of 400 rows have the mean 10.5 with an error of 1."""
    counts = np.random.default_rng(0).poisson(np.repeat([1.0, 20.0], 200)[:, None], (400, D))
    monkeypatch.setattr(importlib.import_module("ppl_vae.inference.fitting.fit"), "LARGEST_START", 100 * D)
    pair = pv.VAE((D,), 2, network=MLP((6,)), likelihood="poisson", seed=0)
    pv.fit(
        pair, scipy.sparse.csr_matrix(counts.astype(np.float32)), epochs=1, lr=1e-12, device="cpu", progress=False
    )
    rates = pair.model.decoder[-1].bias.detach().exp()
    assert (rates - 10.5).abs().max() < 4


def test_bytes_and_half_precision_on_disk(tmp_path):
    for dtype in (np.uint8, np.uint16, np.float16, ">f4"):
        array = np.arange(12).reshape(4, 3).astype(dtype)
        np.save(tmp_path / "x.npy", array)
        rows = containers.opened(np.load(tmp_path / "x.npy", mmap_mode="r")).x
        assert rows.to(torch.device("cpu"), torch.float32)[1:3].tolist() == [[3, 4, 5], [6, 7, 8]]


# Covariates in containers ----------------------------------------------------------------------------------------


def conditional():
    kinds = {"age": "continuous", "site": 3}
    return pv.models.CovariateVAE((D,), 2, kinds, network=MLP((6,)), likelihood="poisson", seed=0)


AGE, SITE = np.linspace(20, 80, N), np.arange(N) % 3
WIDE = FRAME.assign(age=AGE, site=SITE)[["a", "site", "b", "c", "age", "d", "e"]]


@pytest.mark.slow
def test_columns_that_the_programs_name_are_covariates():
    expected = history(fit((X, AGE, SITE), conditional(), validation=0.2))
    cells = annotated(SPARSE)
    cells.obs = cells.obs.assign(age=AGE, site=SITE, unused="text")
    arrays = ARRAYS.assign(age=("cell", AGE), site=("cell", SITE))
    for data in (WIDE, cells, arrays, {"x": SPARSE, "age": WIDE["age"], "site": SITE}, (FRAME, WIDE["age"], SITE)):
        result = fit(data, conditional(), validation=0.2)
        pd.testing.assert_frame_equal(history(result), expected, check_exact=True)
        drawn = pv.inference_data(result.model, data, 5)
        np.testing.assert_array_equal(drawn.observed_data["x"].to_numpy(), X)
    assert pv.inference_data(result.model, WIDE, 5).observed_data["pixel"].values.tolist() == COLUMNS


def test_rows_named_in_another_order_are_not_put_beside_each_other():
    backwards = WIDE["age"].iloc[::-1]
    with pytest.raises(
        DataError, match="age: its rows are named otherwise than those of x, the first at row 0: 'p59'"
    ):
        fit((FRAME, backwards, SITE), conditional())
    with pytest.raises(DataError, match="age: its rows are named otherwise"):
        pv.evaluate(conditional(), {"x": FRAME, "age": backwards, "site": SITE})


def test_codes_and_labels_beside_data_have_their_order():
    """``encode`` and labels that are given as y= took rows as they came."""
    vae, backwards = conditional(), WIDE["age"].iloc[::-1]
    site = pd.Series(SITE, index=WIDE.index)
    for decoded in (lambda: vae.encode(FRAME, backwards, SITE), lambda: vae.reconstruct(FRAME, backwards, SITE)):
        with pytest.raises(DataError, match="age: its rows are named otherwise"):
            decoded()
    assert torch.equal(vae.encode(FRAME, WIDE["age"], site).mean, vae.encode(X, AGE, SITE).mean)
    plain = pv.VAE((X.shape[1],), latent_dim=1, likelihood="gaussian", network="linear")
    labelled = pv.models.ConditionalVAE((X.shape[1],), 1, 3, likelihood="gaussian", network="linear")
    for pair in (plain, labelled):
        with pytest.raises(DataError, match="y: its rows are named otherwise"):
            pv.inference_data(pair, FRAME, 5, y=site.iloc[::-1])
    table = pv.diagnostics.run_importance(plain, FRAME, num_samples=25)
    with pytest.raises(DataError, match="y: its rows are named otherwise"):
        pv.diagnostics.khat_table(table, site.iloc[::-1])


# What is refused, or is right all the same -----------------------------------------------------------------------


def test_a_duplicated_index_is_kept():
    data = FRAME.set_axis(["same"] * N)
    numbers = diagnostics.run_importance(counts_vae(), data, 30)
    assert numbers["datum"].values.tolist() == ["same"] * N
    assert pv.evaluate(counts_vae(), data).num_data == N


def test_an_index_of_two_levels_and_of_dates():
    two = FRAME.set_axis(pd.MultiIndex.from_product([["a", "b"], range(N // 2)]))
    assert diagnostics.run_importance(counts_vae(), two, 30)["datum"].values[1] == "('a', 1)"
    dates = FRAME.set_axis(pd.date_range("2020-01-01", periods=N))
    assert str(diagnostics.run_importance(counts_vae(), dates, 30)["datum"].values[1]).startswith("2020-01-02")


HOLED = FRAME.astype("float64").assign(c=np.where(np.arange(N) == 7, np.nan, FRAME["c"]))
HOLED_SPARSE = SPARSE.copy()
HOLED_SPARSE.data[0] = np.nan
REFUSED = {
    "empty": (FRAME.iloc[:0], r"data are empty: shape \[0, 5\]"),
    "no columns": (FRAME[[]], r"data are empty: shape \[60, 0\]"),
    "NaN in a frame": (HOLED, "NaN or infinite values, the first at row 'p7', column 'c'"),
    "NaN in an array with coordinates": (
        ARRAY.copy(data=HOLED.to_numpy()), "the first at row 'p7', column 'c'",
    ),
    "NaN in a sparse matrix": (HOLED_SPARSE, r"NaN or infinite values, the first at index \[0, "),
    "text": (FRAME.assign(b="x"), "expected columns of numbers, found column 'b' of dtype"),
    "objects": (FRAME.astype({"d": object}), "found column 'd' of dtype object"),
    "categories": (FRAME.assign(b=pd.Categorical(["u", "v"] * 30)), "found column 'b' of dtype category"),
    "a column twice": (FRAME.set_axis(list("abbde"), axis=1), "column 'b' is there twice"),
    "no file": ("nowhere.csv", "nowhere.csv: no such file"),
    "complex": (scipy.sparse.csr_matrix(X.astype(complex)), "expected a sparse matrix of real numbers"),
    "several arrays": (xr.Dataset({"u": ARRAY, "v": ARRAY}), "expected 'x', the first parameter of the model"),
    "no arrays": (xr.Dataset(), "a Dataset without variables"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trained_on_is_refused_by_the_name_of_its_place(data, words):
    with pytest.raises(DataError, match=words):
        fit(data)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "x.h5ad"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"x.h5ad: expected an .h5ad file with X, obs and var"):
        fit(path)
    path = tmp_path / "x.csv"
    path.write_bytes(b"\x00\xff\xfe\x81")
    with pytest.raises(DataError, match=r"x.csv: "):
        fit(path)


def test_columns_of_very_different_scales_are_named_where_the_first_step_is_not_finite():
    generator = np.random.default_rng(1)
    data = pd.DataFrame({"age": generator.normal(50, 9, N), "income": 1e25 * generator.lognormal(1, 1, N)})
    pair = pv.VAE((2,), 1, likelihood="gaussian")
    with pytest.raises(ConvergenceError, match=r"in 1 of 2 columns \('income' to .*standardise them"):
        fit(data, pair)


# Batches ---------------------------------------------------------------------------------------------------------


class Streamed(IterableDataset):
    """Data without a length; it breaks after ``last`` of them."""

    def __init__(self, last=None):
        self.last = last

    def __iter__(self):
        yield from torch.tensor(X)[: self.last]
        if self.last is not None:
            raise OSError("the disk is gone")


class Images(Dataset):
    """A map-style data set of data with their labels."""

    def __len__(self):
        return N

    def __getitem__(self, index):
        return torch.tensor(X[index]), index


BATCHES = {
    "tensors with labels": lambda: DataLoader(TensorDataset(torch.tensor(X), torch.arange(N)), 16),
    "map-style": lambda: DataLoader(Images(), 16),
    "without a length": lambda: DataLoader(Streamed(), 16),
    "a list": lambda: [torch.tensor(X[i : i + 16]) for i in range(0, N, 16)],
    "frames": lambda: [FRAME.iloc[i : i + 16] for i in range(0, N, 16)],
}


@pytest.mark.slow
@pytest.mark.parametrize("make", BATCHES.values(), ids=BATCHES)
def test_a_stream_is_evaluated_with_every_datum_once(make, told):
    """The last batch has 12 of 60 data: a mean of batch means would weigh them by 1/4."""
    model = told[0]
    found, whole = (pv.evaluate(model, data, num_particles=4000) for data in (make(), torch.tensor(X)))
    assert (found.num_data, len(found.elbo)) == (N, N)
    # Draws of different streams: 6 standard errors of a log likelihood with a spread below 3 nats.
    assert ((found.elbo - whole.elbo).abs() < 6 * 3 * (2 / 4000) ** 0.5).all()
    assert found.summary()["elbo"] == pytest.approx(float(found.elbo.mean()))
    evidence = pv.log_evidence(model, make(), num_samples=50)
    assert (evidence.num_data, len(evidence.per_datum_upper)) == (N, N)
    assert diagnostics.run_importance(model, make(), 30).sizes["datum"] == N


@pytest.mark.slow
def test_batches_give_the_same_history_whatever_they_come_from():
    first, *others = (history(fit(make())) for name, make in BATCHES.items() if name not in ("a list", "frames"))
    for other in others:
        pd.testing.assert_frame_equal(first, other, check_exact=True)
    one, two = (history(fit(BATCHES[name]())) for name in ("a list", "frames"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


@pytest.mark.slow
def test_batches_hold_out_batches_and_stop_early():
    held_out = DataLoader(TensorDataset(torch.tensor(X[:20]), torch.arange(20)), 8)
    result = fit(DataLoader(Streamed(), 16), validation=held_out, patience=1, epochs=40, lr=0.3)
    assert result.epochs_run < 40
    best = pv.evaluate(result.model, held_out, seed=0).summary()["elbo"]
    assert best == pytest.approx(result.history["validation_elbo"].max(), rel=1e-6)
    with pytest.raises(ModelError, match="give the validation data themselves, in one piece or as batches"):
        fit(DataLoader(Streamed(), 16), validation=0.2)


@pytest.mark.parametrize(
    "ask", [fit, lambda d: pv.evaluate(counts_vae(), d), lambda d: pv.log_evidence(counts_vae(), d, num_samples=5)]
)
def test_a_loader_that_breaks_is_told_by_the_number_of_its_batch(ask):
    with pytest.raises(DataError, match="data: batch 2 could not be had: OSError: the disk is gone"):
        ask(DataLoader(Streamed(40), 16))


def test_labels_beside_batches_are_refused():
    for ask in (pv.evaluate, pv.log_evidence):
        with pytest.raises(ModelError, match="y= goes with data in one piece"):
            ask(counts_vae(), DataLoader(Images(), 16), y=torch.arange(N))


@pytest.mark.parametrize("ask", [pv.evaluate, pv.log_evidence, diagnostics.run_importance])
def test_no_batches_and_batches_of_several_shapes(ask):
    with pytest.raises(DataError, match="data are empty"):
        ask(counts_vae(), DataLoader(torch.zeros(0, D)))
    with pytest.raises((DataError, ModelError), match=r"expected data of shape \[N, 5\]|do not fit together"):
        ask(counts_vae(), [torch.tensor(X[:4]), torch.tensor(X[:4, :3])])
