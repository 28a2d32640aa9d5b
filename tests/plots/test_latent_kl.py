import numpy as np
import pytest
import torch
import xarray as xr

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_latent_kl

RUNS = {"vae": [0.5, 2.0, 0.02, 1e-9], "beta = 4": np.array([0.001, 0.0])}


def curves(figure):
    (axes,) = figure.axes
    return {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in axes.get_lines()}


def test_a_curve_is_the_sorted_kl_and_what_cannot_be_seen_stands_on_the_edge():
    found = curves(plot_latent_kl(RUNS))
    x, y = found["vae: 3 of 4"]
    assert x.tolist() == [1, 2, 3, 4]
    assert np.allclose(y, [2.0, 0.5, 0.02, 1e-4])
    assert np.allclose(found["beta = 4: 0 of 2"][1], [0.001, 1e-4])


def test_the_legend_counts_what_is_above_the_threshold_that_is_drawn():
    figure = plot_latent_kl(RUNS, threshold=0.1)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["vae: 2 of 4", "beta = 4: 0 of 2"]
    (axes,) = figure.axes
    assert any(np.allclose(line.get_ydata(), 0.1) for line in axes.get_lines())
    assert [text.get_text() for text in axes.texts] == ["collapsed: below 0.1"]


def test_every_mark_is_inside_the_axes():
    (axes,) = plot_latent_kl({"vae": [300.0, 0.0]}).axes
    (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
    for x, y in curves(axes.figure).values():
        if len(x) == 2 and x[0] == 1:
            assert (low <= np.asarray(y)).all()
            assert (np.asarray(y) <= high).all()
            assert left < 1 < 2 < right


@pytest.mark.parametrize("kind", [torch.tensor, np.array, lambda v: xr.DataArray(v, dims="latent")])
def test_tensors_arrays_and_labelled_arrays_are_taken(kind):
    values = kind([0.25, 0.75])
    assert np.allclose(curves(plot_latent_kl({"a": values}))["a: 2 of 2"][1], [0.75, 0.25])


@pytest.mark.parametrize(
    ("kl", "message"),
    [
        ({}, "kl: expected the numbers of at least one run by its name, got dict"),
        ([0.1, 0.2], "expected the numbers of at least one run by its name, got list"),
        ({"vae": [[0.1]]}, r"kl of 'vae': expected one number per latent dimension \[L\], found shape \(1, 1\)"),
        ({"vae": []}, "kl of 'vae': expected one number per latent dimension"),
        ({"vae": [0.1, np.nan]}, "kl of 'vae': expected finite values"),
    ],
)
def test_other_things_are_refused_by_the_runs_name(kl, message):
    with pytest.raises(DataError, match=message):
        plot_latent_kl(kl)


def test_a_threshold_that_is_no_positive_number_is_refused():
    with pytest.raises(DataError, match="threshold: expected a positive number, got 0"):
        plot_latent_kl(RUNS, threshold=0)
