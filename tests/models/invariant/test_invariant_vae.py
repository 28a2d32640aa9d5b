"""Poses as latents: what the warp does to a picture, and that the guide finds by how much digits were turned."""

import math

import pytest
import torch

from ppl_vae.errors import ModelError
from ppl_vae.models import InvariantVAE
from ppl_vae.models.invariant.warp import warp


def poses(n, angle=0.0, shift=(0.0, 0.0), log_scale=0.0):
    return torch.full((n,), angle), torch.tensor([shift]).expand(n, 2), torch.full((n,), log_scale)


def test_quarter_turns_whole_pixels_and_doublings_are_exact():
    image = torch.rand(2, 1, 8, 8)
    for quarters in range(-2, 3):
        turned = warp(image, *poses(2, quarters * math.pi / 2))
        torch.testing.assert_close(turned, image.rot90(quarters, (2, 3)), atol=1e-5, rtol=0)
    # One pixel is a quarter of half the side: to the right, and upwards.
    moved = warp(image, *poses(2, shift=(0.25, 0.25)))
    torch.testing.assert_close(moved[:, :, :-1, 1:], image[:, :, 1:, :-1], atol=1e-5, rtol=0)
    wide = torch.rand(1, 3, 4, 12)
    moved = warp(wide, *poses(1, shift=(0.5, -0.5)))
    torch.testing.assert_close(moved[..., 1:, 1:], wide[..., :-1, :-1], atol=1e-5, rtol=0)
    blocks = torch.rand(1, 1, 8, 8)
    halved = warp(blocks, *poses(1, log_scale=-math.log(2)))
    pooled = torch.nn.functional.avg_pool2d(blocks, 2)
    torch.testing.assert_close(halved[:, :, 2:6, 2:6], pooled, atol=1e-5, rtol=0)


def test_a_turn_of_a_long_image_keeps_shapes():
    """A disc of radius 3 pixels off the centre is carried a quarter around, in an image that is not square."""
    rows, columns = torch.meshgrid(torch.arange(12) - 5.5, torch.arange(20) - 9.5, indexing="ij")
    disc = (9 - rows.square() - (columns - 2).square()).sigmoid()[None, None]
    expected = (9 - (rows + 2).square() - columns.square()).sigmoid()[None, None]
    turned = warp(disc, *poses(1, math.pi / 2))
    assert (turned - expected).abs().max() < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transforms": ()}, "transforms must be some of rotation, translation, scale"),
        ({"transforms": ("rotatoin",)}, "did you mean 'rotation'"),
        ({"angle_concentration": -1.0}, "angle_concentration"),
        ({"posterior": "dais"}, "posterior 'dais' is moved by a model of one code alone"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(options, message):
    with pytest.raises(ModelError, match=message):
        InvariantVAE((1, 4, 4), 2, **options)
    with pytest.raises(ModelError, match="event_shape must be"):
        InvariantVAE((4,), 2)
