"""What a view is made of, without a browser."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from ppl_vae.errors import DataError
from ppl_vae.explore.scene import Column, Scene
from ppl_vae.explore.sheets import make_sheet, shrunk
from tests.explore.scenes import COUNT, HOSTILE, NAMES, SCRIPT, a_scene

pytest.importorskip("bokeh")


def opened(sheet):
    head, body = sheet.source.split(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB"))


@pytest.mark.parametrize("shape", [(8, 8), (5, 9), (4, 6, 3)])
def test_every_tile_of_a_lossless_sheet_is_where_the_page_looks(shape):
    tiles = np.random.default_rng(0).integers(0, 256, (23, *shape)).astype(np.uint8)
    sheet = make_sheet(tiles, lossless=True)
    whole = opened(sheet)
    for i, tile in enumerate(tiles):
        top, left = i // sheet.across * sheet.height, i % sheet.across * sheet.width
        found = whole[top : top + sheet.height, left : left + sheet.width]
        np.testing.assert_array_equal(found, tile if tile.ndim == 3 else np.repeat(tile[..., None], 3, -1))


def test_shrinking_takes_means_over_squares():
    tiles = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    # (0 + 1 + 4 + 5) / 4 = 2.5 and so on, rounded half up.
    np.testing.assert_array_equal(shrunk(tiles, 2)[0], [[3, 5], [11, 13]])
    assert shrunk(tiles, 4) is tiles


def test_ellipses_are_those_of_two_standard_deviations():
    from ppl_vae.explore.facts import ellipses

    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    covariance = turn @ np.diag([9.0, 0.25]) @ turn.T
    x, y, width, height, angle = ellipses(np.array([[1.0, 2.0]]), covariance[None])[0]
    np.testing.assert_allclose([x, y, width, height], [1, 2, 12, 2])
    np.testing.assert_allclose(angle % np.pi, 0.3)


def test_few_whole_numbers_are_classes_and_many_are_a_scale():
    from ppl_vae.explore.facts import column_facts

    columns = [Column("few", np.arange(30) % 4), Column("many", np.arange(30)), Column("real", np.arange(30.0))]
    assert [facts.classes for facts in column_facts(columns)] == [["0", "1", "2", "3"], None, None]


@pytest.mark.slow
def test_the_page_holds_no_end_of_a_script_from_outside():
    from ppl_vae.explore.page import embed
    from ppl_vae.explore.view import explorable

    made = embed(explorable(a_scene(), NAMES), HOSTILE)
    assert HOSTILE not in made.place
    assert SCRIPT not in made.data
    start = made.data.index('id="ppl-vae-view-item">') + len('id="ppl-vae-view-item">')
    text = made.data[start : made.data.index("</script>", start)]
    assert SCRIPT in json.dumps(json.loads(text)).replace("\\/", "/")
    assert "<" not in text


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"points": np.zeros((COUNT - 1, 2))}, "column 'class': expected a value for each of 119 data, found 120"),
        ({"points": np.full((COUNT, 2), np.nan)}, "some places on the map are NaN"),
        ({"columns": [Column("a", np.zeros(COUNT)), Column("a", np.ones(COUNT))]}, "two have the title 'a'"),
    ],
)
def test_a_scene_that_does_not_fit_is_refused(changed, message):
    with pytest.raises(DataError, match=message):
        Scene(**{**vars(a_scene()), **changed})
