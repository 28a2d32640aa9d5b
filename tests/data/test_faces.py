import math

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ppl_vae.data.faces import ATTRIBUTES, FACTOR_NAMES, load_faces, render_faces
from ppl_vae.errors import DataError

DEFAULTS = {"skin": 0.3, "face_width": 0.5, "eye_size": 0.5, "background": 0.5}

# Where an attribute may change pixels at size 64, as rows and columns: (top, bottom, left, right).
REGIONS = {
    "smiling": (45, 56, 18, 46),
    "eyeglasses": (28, 43, 12, 52),
    "hat": (0, 27, 8, 56),
    "blond": (6, 56, 6, 58),
}


def face(**factors):
    row = dict.fromkeys(FACTOR_NAMES, 0.0) | DEFAULTS | factors
    return torch.tensor([[row[name] for name in FACTOR_NAMES]])


def random_factors(n, seed=0):
    return load_faces(n, size=16, seed=seed).train.factors


@pytest.fixture(scope="module")
def faces():
    return load_faces(n=1600, size=32)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_an_attribute_changes_its_region_plainly_and_no_other(attribute):
    factors = random_factors(64)
    column = FACTOR_NAMES.index(attribute)
    without, having = factors.clone(), factors.clone()
    without[:, column], having[:, column] = 0, 1
    change = (render_faces(having) - render_faces(without)).abs().amax(1)
    top, bottom, left, right = REGIONS[attribute]
    region = change[:, top:bottom, left:right]
    assert (region > 0.2).sum(dim=(1, 2)).min() >= 25
    outside = change.clone()
    outside[:, top:bottom, left:right] = 0
    assert outside.max() == 0


def test_smiling_shows_teeth_where_a_closed_mouth_shows_skin():
    closed, open_mouth = render_faces(torch.cat([face(), face(smiling=1.0)]))
    below_the_lips = slice(48, 50), slice(30, 34)
    assert open_mouth[:, *below_the_lips].min() > 0.9
    assert closed[2, *below_the_lips].mean() < 0.75


def test_blond_hair_is_yellow_and_other_hair_is_dark():
    dark, blond = render_faces(torch.cat([face(), face(blond=1.0)]))[:, :, 14, 32]
    torch.testing.assert_close(blond, torch.tensor([0.97, 0.83, 0.38]))
    torch.testing.assert_close(dark, torch.tensor([0.20, 0.12, 0.09]))


def test_a_value_between_is_drawn_between():
    none, half, full = render_faces(torch.cat([face(hat=h, blond=h) for h in (0.0, 0.5, 1.0)]))
    inside = slice(12, 18), slice(28, 37)
    assert (half[:, *inside] != none[:, *inside]).any()
    assert torch.all((half - none).abs().sum((1, 2)) < (full - none).abs().sum((1, 2)))


def test_a_turn_the_other_way_mirrors_the_eyes():
    images = render_faces(torch.cat([face(pose=p) for p in torch.linspace(-1, 1, 9).tolist()]))
    rows = images[:, :, 34:37, 17:47]
    torch.testing.assert_close(rows, rows.flip(0, 3), rtol=0, atol=1e-5)
    assert (rows[1:] - rows[:-1]).abs().mean() > 0.02


def test_pose_turns_the_badge_of_the_hat_as_a_point_on_an_ellipsoid():
    poses = torch.linspace(-1, 1, 9)
    images = render_faces(torch.cat([face(pose=p, hat=1.0) for p in poses.tolist()]))
    red = (0.9 - images[:, 1, 22:24, 16:48]).clamp(min=0).sum(1)
    centres = (red * (torch.arange(16, 48) + 0.5)).sum(1) / red.sum(1)
    # Half-widths 0.53 and 0.64 about v = 0.12, the badge at v = -0.29, 32 pixels a unit.
    depth = 0.53 * math.sqrt(1 - ((-0.29 - 0.12) / 0.64) ** 2)
    torch.testing.assert_close(centres, 32 + 32 * depth * (0.45 * poses).sin(), rtol=0, atol=0.35)


def test_pose_is_bounded_by_the_head():
    left, frontal, right = render_faces(torch.cat([face(pose=p) for p in (-1.0, 0.0, 1.0)]))
    torch.testing.assert_close(left[:, :6], frontal[:, :6])
    torch.testing.assert_close(right[:, 58:], frontal[:, 58:])
    assert (left - right).abs().mean() > 0.02


@pytest.mark.parametrize(
    ("nuisance", "pixel"),
    [("skin", (42, 26)), ("face_width", (36, 15)), ("eye_size", (31, 24)), ("background", (2, 2))],
)
def test_a_nuisance_changes_what_it_names(nuisance, pixel):
    low, high = render_faces(torch.cat([face(**{nuisance: 0.0}), face(**{nuisance: 1.0})]))
    assert (high - low)[:, *pixel].abs().max() > 0.1
    if nuisance != "background":
        assert torch.equal(low[:, :4], high[:, :4])


@pytest.mark.parametrize("size", [16, 33, 64])
def test_images_are_float_and_in_the_unit_interval(size):
    images = render_faces(random_factors(40), size)
    assert (images.dtype, images.shape) == (torch.float32, (36, 3, size, size))
    assert 0 <= images.min() < 0.2
    assert 0.9 < images.max() <= 1


@pytest.mark.slow
def test_a_small_face_is_the_large_one_seen_from_afar():
    factors = random_factors(64)
    small = render_faces(factors, 32)
    reduced = torch.nn.functional.avg_pool2d(render_faces(factors, 128), 4)
    assert (small - reduced).abs().mean() < 0.01


def test_chunks_change_no_bit():
    factors = random_factors(50)
    whole = render_faces(factors, 33)
    for chunk_size in (1, 7, 32):
        assert torch.equal(whole, render_faces(factors, 33, chunk_size=chunk_size))
    assert torch.equal(whole[11:23], render_faces(factors[11:23], 33))


@pytest.mark.slow
def test_attributes_are_exactly_balanced(faces):
    factors = torch.cat([faces.train.factors, faces.test.factors])[:, : len(ATTRIBUTES)]
    combinations, times = factors.unique(dim=0, return_counts=True)
    assert len(combinations) == 16
    assert times.tolist() == [100] * 16


@pytest.mark.parametrize("part", ["train", "test"])
def test_factors_are_uncorrelated_in_either_split(faces, part):
    factors = getattr(faces, part).factors
    correlation = torch.corrcoef(factors.T)
    off_diagonal = correlation[~torch.eye(len(FACTOR_NAMES), dtype=torch.bool)]
    # The standard error of a correlation of independent variables is 1/sqrt(N); 36 pairs, two-sided 1e-4.
    assert off_diagonal.abs().max() * math.sqrt(len(factors)) < 4.7


def test_pose_and_nuisances_are_uniform(faces):
    factors = torch.cat([faces.train.factors, faces.test.factors])[:, len(ATTRIBUTES) :]
    low = torch.tensor([-1.0, 0, 0, 0, 0])
    unit = (factors - low) / (1 - low)
    assert ((unit >= 0) & (unit <= 1)).all()
    z = (unit.mean(0) - 0.5) / math.sqrt(1 / 12 / len(unit))
    assert z.abs().max() < 4.4


@pytest.mark.slow
def test_a_linear_probe_reads_every_attribute_off_the_pixels(faces):
    train, test = (torch.nn.functional.avg_pool2d(s.x, 2).flatten(1).numpy() for s in (faces.train, faces.test))
    for column, attribute in enumerate(ATTRIBUTES):
        probe = LogisticRegression(C=10.0, max_iter=500).fit(train, faces.train.factors[:, column].numpy())
        accuracy = probe.score(test, faces.test.factors[:, column].numpy())
        assert accuracy > 0.95, attribute


def test_the_data_set_says_what_it_holds():
    ds = load_faces(n=50, size=16, seed=3)
    assert (ds.name, ds.event_shape, ds.factor_names) == ("faces", (3, 16, 16), FACTOR_NAMES)
    assert (len(ds.train), len(ds.test), ds.binarization, ds.source) == (45, 5, "none", "rendered")
    assert "50 faces drawn with seed 3" in ds.notes
    for split in (ds.train, ds.test):
        assert split.y is None
        assert torch.equal(split.x, render_faces(split.factors, 16))


def test_a_seed_gives_the_same_images_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    first, again, other = (load_faces(n=30, size=16, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.train.x, again.train.x)
    assert torch.equal(first.test.factors, again.test.factors)
    assert not torch.equal(first.train.x, other.train.x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 1}, "n must be an integer of at least 2, found 1"),
        ({"n": True}, "n must be an integer"),
        ({"size": 8}, "size must be an integer of at least 16, found 8"),
        ({"seed": 0.5}, "seed must be an integer of at least 0, found 0.5"),
    ],
)
def test_a_bad_option_is_named(options, message):
    with pytest.raises(DataError, match=message):
        load_faces(**options)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (torch.zeros(3, 4), r"factors must be \[N, 9\], found \[3, 4\]"),
        (face(smiling=-1.0), r"'smiling' must be in \[0, 1\], found -1"),
        (face(pose=-1.5), r"'pose' must be in \[-1, 1\], found -1.5"),
        (face(skin=math.nan), "'skin' must be in .* found nan"),
    ],
)
def test_a_factor_out_of_range_is_named(factors, message):
    with pytest.raises(DataError, match=message):
        render_faces(factors)


def test_a_bad_chunk_size_is_named():
    with pytest.raises(DataError, match="chunk_size must be an integer of at least 1, found 0"):
        render_faces(face(), chunk_size=0)
