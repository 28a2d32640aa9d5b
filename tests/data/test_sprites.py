import math

import pytest
import torch

from ppl_vae.data.sprites import FACTOR_NAMES, SHAPE_AREAS, SHAPES, load_sprites, render_sprites
from ppl_vae.errors import DataError

SHAPE_INDICES = range(len(SHAPES))


def sprite(shape=0, scale=0.8, orientation=0.3, x=0.45, y=0.55):
    return torch.tensor([[shape, scale, orientation, x, y]], dtype=torch.float32)


def random_factors(n, seed=0):
    return load_sprites(n=n, size=8, seed=seed).train.factors


def centroids(images):
    """Columns and rows of the centres of mass, in pixels, [N, 2]."""
    centres = torch.arange(images.shape[-1]) + 0.5
    mass = images.sum(dim=(1, 2, 3))
    columns = (images.sum(dim=(1, 2)) * centres).sum(1) / mass
    rows = (images.sum(dim=(1, 3)) * centres).sum(1) / mass
    return torch.stack([columns, rows], dim=1)


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 64])
def test_the_centroid_stands_where_x_and_y_say(size):
    factors = random_factors(300)
    found = centroids(render_sprites(factors, size, antialias=True))
    expected = size * (0.25 + 0.5 * factors[:, 3:])
    assert (found - expected).abs().max() < 0.1


@pytest.mark.parametrize("shape", SHAPE_INDICES)
def test_a_step_of_x_moves_the_sprite_by_whole_pixels_and_nothing_else(shape):
    # 2/64 of the range of x is half as much of the image: one pixel of 64.
    start = sprite(shape, x=0.5, y=0.5)
    shifts = torch.tensor([[0, 0, 0, 8 * 2 / 64, 0], [0, 0, 0, 0, 4 * 2 / 64]])
    here, right, down = render_sprites(torch.cat([start, start + shifts]))
    torch.testing.assert_close(right, here.roll(8, dims=2))
    torch.testing.assert_close(down, here.roll(4, dims=1))


@pytest.mark.parametrize("shape", SHAPE_INDICES)
def test_the_area_is_the_closed_form_times_the_square_of_the_scale(shape):
    scales = torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    factors = torch.cat([sprite(shape, scale=s) for s in scales])
    areas = render_sprites(factors, 128, antialias=True).sum(dim=(1, 2, 3))
    expected = SHAPE_AREAS[shape] * (scales * 128 / 4).square()
    torch.testing.assert_close(areas, expected, rtol=0.005, atol=0)


@pytest.mark.parametrize(("shape", "period"), [(0, math.pi / 2), (1, math.pi), (2, 2 * math.pi)])
def test_orientation_has_the_period_of_the_shape_and_no_shorter_one(shape, period):
    start = sprite(shape)
    turned = torch.cat([sprite(shape, orientation=0.3 + part * period) for part in (1.0, 0.5)])
    here, whole, half = render_sprites(torch.cat([start, turned]), antialias=True)
    assert (here - whole).abs().mean() < 1e-4
    assert (here - half).abs().mean() > 0.01


def test_orientation_turns_anti_clockwise_and_the_heart_stands_upright_at_zero():
    upright = render_sprites(sprite(2, 1.0, 0.0, 0.5, 0.5))[0, 0]
    torch.testing.assert_close(upright, upright.flip(1))
    assert upright[:32].sum(1).max() > upright[32:].sum(1).max()
    turned = render_sprites(sprite(2, 1.0, math.pi / 2, 0.5, 0.5))[0, 0]
    assert (turned - upright.rot90(1)).abs().sum() <= 2  # pixels that the edge touches at their centre
    assert (turned - upright.rot90(-1)).abs().sum() > 50


@pytest.mark.parametrize("shape", SHAPE_INDICES)
def test_no_sprite_is_cut_by_the_border(shape):
    corners = [
        sprite(shape, 1.0, angle, x, y)
        for angle in torch.linspace(0, 2 * math.pi, 32).tolist()
        for x in (0.0, 1.0)
        for y in (0.0, 1.0)
    ]
    areas = render_sprites(torch.cat(corners), antialias=True).sum(dim=(1, 2, 3))
    expected = torch.full_like(areas, SHAPE_AREAS[shape] * 16**2)
    torch.testing.assert_close(areas, expected, rtol=0.01, atol=0)


@pytest.mark.slow
def test_plain_images_are_exactly_binary_and_antialiased_ones_are_their_grey_cover():
    factors = random_factors(200)
    plain, grey = render_sprites(factors), render_sprites(factors, antialias=True)
    assert plain.dtype == torch.float32
    assert set(plain.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(grey * 16, (grey * 16).round(), rtol=0, atol=0)
    assert grey.min() >= 0
    assert grey.max() == 1
    decided = (grey == 0) | (grey == 1)
    assert (plain[decided] != grey[decided]).float().mean() < 1e-4
    assert 0.005 < (~decided).float().mean() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("antialias", [False, True])
def test_chunks_change_no_bit(antialias):
    factors = random_factors(60)
    whole = render_sprites(factors, 48, antialias=antialias)
    for chunk_size in (1, 7, 32):
        assert torch.equal(whole, render_sprites(factors, 48, antialias=antialias, chunk_size=chunk_size))
    assert torch.equal(whole[11:23], render_sprites(factors[11:23], 48, antialias=antialias))


def test_a_grid_holds_every_combination_exactly_once():
    counts = {"shape": 3, "scale": 4, "orientation": 5, "x": 2, "y": 3}
    ds = load_sprites(grid=counts, size=16)
    factors = torch.cat([ds.train.factors, ds.test.factors])
    assert len(factors) == len(factors.unique(dim=0)) == math.prod(counts.values())
    for column, name in enumerate(FACTOR_NAMES):
        values, times = factors[:, column].unique(return_counts=True)
        assert len(values) == counts[name]
        assert (times == len(factors) / counts[name]).all()
    scales, angles = factors[:, 1].unique(), factors[:, 2].unique()
    torch.testing.assert_close(scales, torch.tensor([1 / 2, 2 / 3, 5 / 6, 1]))
    torch.testing.assert_close(angles, torch.arange(5) * 2 * math.pi / 5)


def test_a_grid_holds_what_it_leaves_out():
    factors = load_sprites(grid={"x": 6, "scale": 1}, size=16).train.factors
    others = factors[:, [0, 1, 2, 4]]
    assert torch.equal(others, torch.tensor([0, 0.75, 0, 0.5]).expand(len(factors), -1))


def test_random_draws_are_uniform_over_the_ranges():
    n = 6000
    ds = load_sprites(n=n, size=8)
    factors = torch.cat([ds.train.factors, ds.test.factors])
    low, high = torch.tensor([[0.5, 0, 0, 0], [1, 2 * math.pi, 1, 1]])
    rest = (factors[:, 1:] - low) / (high - low)
    assert ((rest >= 0) & (rest <= 1)).all()
    z = (rest.mean(0) - 0.5) / math.sqrt(1 / 12 / n)
    shares = factors[:, 0].long().bincount(minlength=3) / n
    z_shape = (shares - 1 / 3) / math.sqrt(2 / 9 / n)
    assert torch.cat([z, z_shape]).abs().max() < 4.5


def test_the_data_set_says_what_it_holds():
    ds = load_sprites(n=50, size=16, seed=3)
    assert (ds.name, ds.event_shape, ds.factor_names) == ("sprites", (1, 16, 16), FACTOR_NAMES)
    assert (len(ds.train), len(ds.test)) == (45, 5)
    assert ds.source == "rendered"
    assert "50 random draws of the factors, seed 3" in ds.notes
    for split in (ds.train, ds.test):
        assert split.y.dtype == torch.int64
        assert torch.equal(split.y, split.factors[:, 0].long())
        assert torch.equal(split.x, render_sprites(split.factors, 16))


@pytest.mark.parametrize(("antialias", "binarization"), [(False, "threshold"), (True, "none")])
def test_binarization_is_told_by_the_values(antialias, binarization):
    ds = load_sprites(n=40, size=16, antialias=antialias)
    assert ds.binarization == binarization
    assert ((ds.train.x == 0) | (ds.train.x == 1)).all() == (binarization == "threshold")


def test_binary_sprites_are_in_the_support_of_a_bernoulli():
    x = load_sprites(n=20, size=16).train.x
    log_prob = torch.distributions.Bernoulli(0.25, validate_args=True).log_prob(x)
    ink = x.sum()
    expected = ink * math.log(0.25) + (x.numel() - ink) * math.log(0.75)
    torch.testing.assert_close(log_prob.sum(), expected)


def test_a_seed_gives_the_same_images_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    first, again, other = (load_sprites(n=30, size=16, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.train.x, again.train.x)
    assert torch.equal(first.test.factors, again.test.factors)
    assert not torch.equal(first.train.x, other.train.x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 1}, "n must be an integer of at least 2, found 1"),
        ({"n": 2.5}, "n must be an integer"),
        ({"size": 4}, "size must be an integer of at least 8, found 4"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"n": 5, "grid": {"x": 5}}, "not both"),
        ({"grid": {"orientatoin": 5}}, "did you mean 'orientation'"),
        ({"grid": {"x": 0}}, r"grid\['x'\] must be an integer of at least 1, found 0"),
        ({"grid": {"shape": 4}}, r"grid\['shape'\] must be at most 3, found 4"),
        ({"grid": {"x": 1}}, "at least 2 combinations"),
    ],
)
def test_a_bad_option_is_named(options, message):
    with pytest.raises(DataError, match=message):
        load_sprites(**options)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (torch.zeros(3, 4), r"factors must be \[N, 5\], found \[3, 4\]"),
        (sprite(shape=1.5), "'shape' must be 0, 1 or 2, found 1.5"),
        (sprite(scale=1.2), r"'scale' must be in \(0, 1\], found 1.2"),
        (sprite(scale=0.0), "'scale' must be"),
        (sprite(x=-0.1), r"'x' must be in \[0, 1\], found -0.1"),
        (sprite(y=1.1), "'y' must be"),
        (sprite(orientation=math.nan), "must be finite"),
    ],
)
def test_a_factor_out_of_range_is_named(factors, message):
    with pytest.raises(DataError, match=message):
        render_sprites(factors)


def test_a_bad_chunk_size_is_named():
    with pytest.raises(DataError, match="chunk_size must be an integer of at least 1, found 0"):
        render_sprites(sprite(), chunk_size=0)
