import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_attribute_changes
from ppl_vae.plots.style import VERMILION


def made_changes():
    changed = np.array([[0.9, 0.1], [0.0, 0.0], [0.4, 0.2]])
    return xr.Dataset(
        {
            name: (("alpha", "attribute"), changed * scale)
            for name, scale in (("changed", 1), ("changed_stderr", 0.1))
        },
        {"alpha": [1.0, 0.0, -1.0], "attribute": ["hat", "blond"]},
        {"moved": "hat", "num_data": 10},
    )


@pytest.fixture
def table():
    return made_changes()


def test_a_curve_an_attribute_over_rising_alpha(table):
    (axes,) = plot_attribute_changes(table).axes
    curves = {container.get_label(): container.lines[0] for container in axes.containers}
    assert set(curves) == {"hat", "blond"}
    assert curves["hat"].get_xdata().tolist() == [-1, 0, 1]
    assert curves["hat"].get_ydata().tolist() == [0.4, 0, 0.9]
    assert curves["blond"].get_ydata().tolist() == [0.2, 0, 0.1]
    assert "hat" in axes.get_xlabel()


def test_the_moved_attribute_has_a_colour_of_its_own(table):
    (axes,) = plot_attribute_changes(table).axes
    colours = {container.get_label(): to_hex(container.lines[0].get_color()) for container in axes.containers}
    assert colours["hat"] == VERMILION
    assert colours["blond"] != VERMILION


def test_another_table_is_refused(table):
    with pytest.raises(DataError, match="expected what run_arithmetic returns"):
        plot_attribute_changes(table.drop_vars("changed"))
