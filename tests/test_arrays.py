"""Arrays of other libraries: their values as they are, or one line that says what to call."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import ppl_vae as pv
from ppl_vae.arrays import all_finite, is_array, to_tensor
from ppl_vae.diagnostics import run_calibration, run_importance, run_predictive
from ppl_vae.errors import DataError

X = np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32)
FILL = 999.0
MASK = np.random.default_rng(1).random(X.shape) < 0.2
MASKED = np.ma.masked_array(np.where(MASK, FILL, X), mask=MASK)
HOLED = np.where(MASK, np.nan, X)
FRAME = pd.DataFrame(X, columns=list("abcd"))
MISSING = {"name": "missing-pixels", "of": "gaussian"}

SAME = {
    "big-endian": X.astype(">f4"),
    "negative strides": X[::-1].copy()[::-1],
    "read-only": np.frombuffer(X.tobytes(), np.float32).reshape(X.shape),
    "Fortran order": np.asfortranarray(X),
    "extended precision": X.astype(np.longdouble),
    "nested lists": X.tolist(),
    "DataFrame": FRAME,
    "a frame of another order of rows": FRAME.iloc[::-1].iloc[::-1],
    "nullable columns": FRAME.astype("Float64"),
    "DataArray": xr.DataArray(X, dims=("datum", "column")),
    "nothing masked": np.ma.masked_array(X),
    "tensor": torch.tensor(X),
    "made in inference mode": torch.inference_mode()(lambda: torch.tensor(X))(),
}


@pytest.mark.parametrize("x", SAME.values(), ids=SAME.keys())
def test_values_are_those_of_the_array(x):
    torch.testing.assert_close(to_tensor(x).float(), torch.tensor(X), rtol=0, atol=0)
    assert is_array(x)


def test_masked_cells_are_nan_and_what_lies_under_them_is_not_read():
    np.testing.assert_array_equal(to_tensor(MASKED).numpy(), HOLED)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.uint16, bool])
def test_masked_integers_keep_their_values(dtype):
    whole = np.array([[0, 1], [1, 200]]).astype(dtype)
    mask = [[True, False], [False, False]]
    found = to_tensor(np.ma.masked_array(whole, mask=mask)).double().numpy()
    np.testing.assert_array_equal(found, np.where(mask, np.nan, whole.astype(float)))


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
def test_unsigned_integers(dtype):
    values = np.array([[0, 1], [2, np.iinfo(dtype).max]], dtype)
    np.testing.assert_array_equal(to_tensor(values).numpy().astype(float), values.astype(float))


def test_nullable_integers_with_a_hole():
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [True, False]})
    np.testing.assert_array_equal(to_tensor(frame).numpy(), [[1.0, 1.0], [np.nan, 0.0]])


REFUSED = {
    "text column": (FRAME.assign(name="a"), "column 'name'"),
    "dates": (FRAME.assign(day=pd.Timestamp("2020-01-01")), "column 'day'"),
    "categories": (FRAME.assign(kind=pd.Categorical(["u"] * len(X))), "column 'kind'"),
    "numbers as text": (FRAME.astype(str), "column 'a'"),
    "objects": (X.astype(object), "astype"),
    "text array": (X.astype(str), "text"),
    "records": (np.zeros(3, [("a", "f4"), ("b", "f4")]), "structured_to_unstructured"),
    "complex array": (X + 1j, "x.real"),
    "complex tensor": (torch.tensor(X) * 1j, "x.real"),
    "sparse tensor": (torch.tensor(X).to_sparse(), "to_dense"),
    "meta": (torch.empty(9, 4, device="meta"), "meta device"),
    "several variables": (xr.Dataset({"a": ("n", X[:, 0]), "b": ("n", X[:, 1])}), r"'x'|x\['name'\]"),
    # As an array it has a dimension more: [9, 1, 4].
    "data set of torch's": (torch.utils.data.TensorDataset(torch.tensor(X)), "DataLoader"),
    "ragged lists": ([[1.0, 2.0], [3.0]], "inhomogeneous"),
}


@pytest.mark.parametrize(("x", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_array_of_real_numbers_is_refused_in_one_line(x, said):
    vae = pv.VAE((4,), 1, network="linear", likelihood="gaussian")
    doors = (
        lambda: pv.fit(vae, x, epochs=1, progress=False, compile=False),
        lambda: pv.evaluate(vae, x),
        lambda: pv.log_evidence(vae, x, num_samples=4),
        lambda: vae.encode(x),
        lambda: run_importance(vae, x, num_samples=100),
    )
    for door in doors:
        with pytest.raises(DataError, match=said) as refusal:
            door()
        assert "\n" not in str(refusal.value)
        assert refusal.value.__cause__ is None


def test_a_data_set_in_the_place_of_an_array_is_told_its_way():
    ds = pv.load_dataset("four-small-images")
    vae = pv.VAE((1, 3, 3), 1, likelihood="continuous-bernoulli")
    with pytest.raises(DataError, match=r"\.test\.x"):
        pv.evaluate(vae, ds)
    with pytest.raises(DataError, match=r"its \.x"):
        pv.evaluate(vae, ds.test)


DOORS = {
    "fit": lambda vae, x: pv.fit(vae, x, epochs=1, progress=False, compile=False).history.train_elbo.to_numpy(),
    "evaluate": lambda vae, x: pv.evaluate(vae, x).elbo,
    "log_evidence": lambda vae, x: pv.log_evidence(vae, x, num_samples=8).per_datum,
    "encode": lambda vae, x: vae.encode(x).mean.detach(),
    "reconstruct": lambda vae, x: vae.reconstruct(x),
    "importance": lambda vae, x: run_importance(vae, x, num_samples=100).elbo.values,
    "calibration": lambda vae, x: run_calibration(vae, x, num_simulations=20, num_samples=9)["ranks"].values,
    "predictive": lambda vae, x: run_predictive(vae, x, num_samples=9).observed.values,
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS.keys())
def test_a_masked_array_is_its_holes_to_a_model_that_takes_them_and_else_refused(door):
    """The judge is the same call on the array with NaN, which says nothing of the fill value."""

    def vae(likelihood):
        return pv.VAE((4,), 1, network="linear", likelihood=likelihood)

    np.testing.assert_array_equal(door(vae(MISSING), MASKED), door(vae(MISSING), torch.tensor(HOLED)))
    if door is not DOORS["calibration"]:
        with pytest.raises(DataError, match="missing-pixels"):
            door(vae("gaussian"), MASKED)


def test_rows_of_a_shuffled_series_of_labels_stay_in_their_order():
    y = pd.Series(np.arange(len(X)) % 3, index=np.random.default_rng(2).permutation(len(X)))
    vae = pv.models.ConditionalVAE((4,), 1, num_classes=3, likelihood="gaussian")
    by_array, by_series = (pv.evaluate(vae, X, y=labels).elbo for labels in (y.to_numpy(), y))
    torch.testing.assert_close(by_series, by_array, rtol=0, atol=0)


def test_a_masked_label_is_a_missing_one():
    y = np.ma.masked_array(np.zeros(len(X), np.int64), mask=np.arange(len(X)) < 5)
    vae = pv.models.SemiSupervisedVAE((4,), 1, num_classes=3, likelihood="gaussian")
    by_mask, by_number = (pv.evaluate(vae, X, y=labels).elbo for labels in (y, y.filled(-1)))
    torch.testing.assert_close(by_mask, by_number, rtol=0, atol=0)


INF = float("inf")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    "values", [[0.0, 1.0], [INF, 1.0], [-INF, INF], [float("nan"), 1.0], [INF, float("nan")], [6e4] * 64, []]
)
def test_values_are_finite_where_each_is(values, dtype):
    """Also where their sum is not: 64 times 60000 is beyond half precision."""
    x = torch.tensor(values, dtype=dtype)
    assert all_finite(x) == all(np.isfinite(value) for value in values)


@pytest.mark.parametrize("x", [torch.tensor([3e38, 3e38]), torch.tensor([1, 2]), torch.tensor([True])])
def test_large_and_whole_numbers_are_finite(x):
    assert all_finite(x)
