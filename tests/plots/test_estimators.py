import numpy as np
import pytest
import xarray as xr

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_estimator_cost, plot_estimator_values, plot_gradient_variance, plot_snr
from tests.inference.comparisons import made_table

NAMES = ["analytic-kl", "sticking-the-landing", "iwae"]


def along(name, values):
    """Tables joined along a dimension, with other numbers in each."""
    tables = [
        made_table().pipe(lambda t, f=f: t.assign(snr=t["snr"] * f, gradient_variance=t["gradient_variance"] / f))
        for f in range(1, len(values) + 1)
    ]
    return xr.concat(tables, name, data_vars="all").assign_coords({name: list(values)})


def scattered(axes):
    return {tuple(point) for cloud in axes.collections for point in np.asarray(cloud.get_offsets())}


@pytest.mark.slow
def test_cost_draws_every_estimator_in_every_group():
    table = made_table()
    figure = plot_estimator_cost(table)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["encoder", "decoder"]
    for axes, group in zip(figure.axes, ("encoder", "decoder"), strict=True):
        expected = zip(table["milliseconds"].to_numpy(), table["gradient_variance"].sel(group=group), strict=True)
        assert scattered(axes) == {(float(ms), float(v)) for ms, v in expected}
        assert axes.get_xscale() == axes.get_yscale() == "log"
        labels = {text.get_text(): text.xy for text in axes.texts}
        assert set(labels) == set(NAMES)
        assert labels["iwae"] == (5.0, table["gradient_variance"].sel(estimator="iwae", group=group))


@pytest.mark.slow
def test_cost_marks_the_frontier():
    figure = plot_estimator_cost(made_table())
    encoder, decoder = (axes.get_lines()[0] for axes in figure.axes)
    assert encoder.get_xydata().tolist() == [[1.0, 8.0], [2.0, 1.0]]
    # In the decoder two have the same variance and the quicker one wins.
    assert decoder.get_xydata().tolist() == [[1.0, 1.0], [5.0, 0.2]]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["estimates the ELBO", "estimates another bound", "efficient frontier"]


@pytest.mark.slow
def test_cost_says_which_variance_is_zero():
    figure = plot_estimator_cost(made_table(gradient_variance=[[8.0, 1.0], [0.0, 1.0], [4.0, 0.2]]))
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "zero: sticking-the-landing" in words
    assert len(scattered(figure.axes[0])) == 2


@pytest.mark.slow
def test_labels_of_equal_points_do_not_cover_each_other():
    table = made_table(milliseconds=[2.0, 2.0, 2.05], gradient_variance=[[1.0, 1.0]] * 3)
    figure = plot_estimator_cost(table)
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_values_draw_a_violin_a_mean_and_the_references():
    table = made_table()
    (axes,) = plot_estimator_values(table).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES
    assert len(axes.collections) == 3
    for row, violin in enumerate(axes.collections):
        vertices = violin.get_paths()[0].vertices
        draws = table["draw"][row].to_numpy()
        assert vertices[:, 0].min() < draws.min() < draws.max() < vertices[:, 0].max()
        assert vertices[:, 1].mean() == pytest.approx(row, abs=0.05)
        widest = vertices[np.abs(vertices[:, 1] - row).argmax(), 0]
        assert widest == pytest.approx(np.median(draws), abs=0.1)
    lines = {line.get_label(): line for line in axes.get_lines() if line.get_label().startswith("reference")}
    assert lines["reference ELBO"].get_xdata()[0] == -10.0
    assert lines[r"reference $\log p(x)$"].get_xdata()[0] == -8.0
    means = [line.get_xydata()[0].tolist() for line in axes.get_lines() if line.get_marker() == "|"]
    assert means == [[-10.0, 0.0], [-10.0, 1.0], [-9.0, 2.0]]


def test_values_without_spread_are_a_stroke():
    (axes,) = plot_estimator_values(made_table(draw=np.full((3, 10_000), -10.0))).axes
    segments = [collection.get_segments() for collection in axes.collections]
    assert [s[0][:, 0].tolist() for s in segments] == [[-10.0, -10.0]] * 3


def test_snr_over_particles_with_its_slopes():
    tables = along("num_particles", (1, 4, 16))
    tables["snr"].loc[{"num_particles": 1, "estimator": "iwae"}] = np.nan
    figure = plot_snr(tables)
    for axes, group in zip(figure.axes, ("encoder", "decoder"), strict=True):
        curves = {line.get_label(): line for line in axes.get_lines()}
        for name in NAMES:
            expected = tables["snr"].sel(estimator=name, group=group).to_numpy()
            np.testing.assert_array_equal(curves[name].get_ydata(), expected)
            np.testing.assert_array_equal(curves[name].get_xdata(), [1, 4, 16])
        slopes = [line for line in axes.get_lines() if line.get_label() == "_slope"]
        for line, slope in zip(slopes, (-0.5, 0.5), strict=True):
            found = np.diff(np.log(line.get_ydata())) / np.diff(np.log(line.get_xdata()))
            np.testing.assert_allclose(found, slope)
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == [*NAMES, r"slopes $\pm 1/2$"]


def test_gradient_variance_along_training():
    tables = along("epoch", (0, 10, 50))
    figure = plot_gradient_variance(tables, title="digits")
    assert figure.get_suptitle() == "digits"
    for axes, group in zip(figure.axes, ("encoder", "decoder"), strict=True):
        assert axes.get_yscale() == "log"
        assert axes.get_xlabel() == "epoch"
        for line, name in zip(axes.get_lines(), NAMES, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), [0, 10, 50])
            expected = tables["gradient_variance"].sel(estimator=name, group=group)
            np.testing.assert_array_equal(line.get_ydata(), expected)


def test_more_than_ten_estimators_are_told_apart():
    tables = along("epoch", (0, 1)).isel(estimator=[0] * 12).assign_coords(estimator=[f"e{i}" for i in range(12)])
    lines = plot_gradient_variance(tables).axes[0].get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 12


@pytest.mark.parametrize(
    ("plot", "missing"),
    [
        (plot_snr, "dimension num_particles"),
        (plot_gradient_variance, "dimension epoch"),
        (lambda t: plot_estimator_cost(t.drop_vars("milliseconds")), "milliseconds"),
        (lambda t: plot_estimator_values(t.drop_vars(["draw", "gradient_distance"])), "draw, dimension repeat"),
    ],
)
def test_other_tables_are_refused(plot, missing):
    with pytest.raises(DataError, match=f"expected a Dataset of compare_estimators; missing {missing}"):
        plot(made_table())
