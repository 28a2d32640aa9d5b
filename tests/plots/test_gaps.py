import numpy as np
import pytest
import xarray as xr
from matplotlib.patches import Rectangle

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_gaps

FAMILY, ENCODER = np.array([0.3, 0.1, 0.2]), np.array([0.0, 1.0, 0.5])
MEANS = {"approximation_gap": [0.2, 0.15], "amortisation_gap": [0.5, 0.25]}


def split_gaps():
    """A table of our choice, as run_gaps returns it."""
    variables = {
        "approximation_gap": ("datum", FAMILY),
        "amortisation_gap": ("datum", ENCODER),
        **{f"mean_{name}": ("split", values) for name, values in MEANS.items()},
        **{f"mean_{name}_stderr": ("split", [0.02, 0.03]) for name in MEANS},
    }
    return xr.Dataset(variables, {"split": ["test", "train"]})


def test_bars_are_stacked_from_the_evidence_down():
    bars, _ = plot_gaps(split_gaps()).axes
    drawn = [patch for patch in bars.patches if isinstance(patch, Rectangle)]
    assert np.allclose([p.get_width() for p in drawn], [*MEANS["approximation_gap"], *MEANS["amortisation_gap"]])
    assert np.allclose([p.get_x() for p in drawn], [0, 0, *MEANS["approximation_gap"]])
    assert [label.get_text() for label in bars.get_yticklabels()] == ["test", "train"]


def test_whiskers_are_two_standard_errors():
    bars, _ = plot_gaps(split_gaps()).axes
    widths = [line[1, 0] - line[0, 0] for c in bars.containers if hasattr(c, "lines") for line in _segments(c)]
    assert np.allclose(sorted(widths), [0.08, 0.08, 0.12, 0.12])


def _segments(container):
    return container.lines[2][0].get_segments()


def test_every_datum_is_a_point():
    _, points = plot_gaps(split_gaps()).axes
    assert np.allclose(points.collections[0].get_offsets(), np.column_stack([FAMILY, ENCODER]))


def test_another_table_is_refused():
    with pytest.raises(DataError, match=r"expected what run_gaps returns; missing.*amortisation_gap"):
        plot_gaps(split_gaps().drop_vars("amortisation_gap"))
