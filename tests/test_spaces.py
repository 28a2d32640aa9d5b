"""Geodesics: they begin and end where they must, stay in the space, and divide distances as closed forms say."""

import math

import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import ModelError
from ppl_vae.models import latent_map
from ppl_vae.spaces import EUCLIDEAN, POINCARE_BALL, SPHERE, TORUS

WEIGHTS = torch.linspace(0, 1, 9, dtype=torch.float64).view(-1, 1, 1)


def points(space, n=200, dim=3):
    x = torch.randn(2, n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if space is SPHERE:
        return x / x.norm(dim=-1, keepdim=True)
    if space is TORUS:
        return torch.remainder(3 * x + math.pi, 2 * math.pi) - math.pi
    return x / (1.05 * x.norm(dim=-1, keepdim=True)) if space is POINCARE_BALL else x


def distance(space, a, b):
    """The closed form of each space [..., N]."""
    if space is SPHERE:
        return (a * b).sum(-1).clamp(-1, 1).acos()
    if space is TORUS:
        turn = (a - b).abs() % (2 * math.pi)
        return torch.minimum(turn, 2 * math.pi - turn).norm(dim=-1)
    if space is POINCARE_BALL:
        apart = (a - b).square().sum(-1) / ((1 - a.square().sum(-1)) * (1 - b.square().sum(-1)))
        return (1 + 2 * apart).acosh()
    return (a - b).norm(dim=-1)


@pytest.mark.parametrize("space", [EUCLIDEAN, SPHERE, TORUS, POINCARE_BALL], ids=lambda space: space.name)
def test_a_geodesic_divides_the_distance_by_its_weight(space):
    start, end = points(space)
    path = space.geodesic(start, end, WEIGHTS)
    whole = distance(space, start, end)
    for weight, point in zip(WEIGHTS.flatten(), path, strict=True):
        torch.testing.assert_close(distance(space, start, point), weight * whole, rtol=1e-6, atol=2e-6)
        torch.testing.assert_close(distance(space, point, end), (1 - weight) * whole, rtol=1e-6, atol=2e-6)


def test_great_circles_of_equal_and_nearly_opposite_points_stay_on_the_sphere():
    pole = torch.tensor([[0.0, 0.0, 1.0]])
    across = torch.tensor([[1e-6, 0.0, -1.0]])
    weights = torch.linspace(0, 1, 5).view(-1, 1, 1)
    assert torch.equal(SPHERE.geodesic(pole, pole, weights), pole.expand(5, 1, 3))
    path = SPHERE.geodesic(pole, across, weights)
    torch.testing.assert_close(path.norm(dim=-1), torch.ones(5, 1))
    torch.testing.assert_close(path[2], torch.tensor([[1.0, 0.0, 0.0]]), atol=0.1, rtol=0)


def test_a_vae_interpolates_along_the_geodesic():
    vae = pv.VAE((4,), 2, prior="wrapped-normal", posterior="wrapped-normal")
    x = torch.eye(4)
    path = vae.interpolate(x[:2], x[2:], num_steps=3)
    one, other = vae.encode(x[:2]).mean, vae.encode(x[2:]).mean
    middle = POINCARE_BALL.geodesic(one, other, torch.tensor(0.5))
    torch.testing.assert_close(path[1], vae.decode(middle).mean.detach())


def test_parts_of_two_spaces_are_refused_at_the_door():
    with pytest.raises(ModelError, match="'von-mises-fisher' has its draws in the sphere, and the prior"):
        pv.VAE((4,), 3, posterior="von-mises-fisher")
    with pytest.raises(ModelError, match=r"'diagonal' has its draws in the Euclidean space.*the torus"):
        pv.VAE((4,), 3, prior="uniform-torus")
    with pytest.raises(ModelError, match="the sphere needs a latent_dim of at least 2, got 1"):
        pv.VAE((4,), 1, prior="uniform-sphere", posterior="power-spherical")
    with pytest.raises(ModelError, match="prior's lie in the Euclidean space"):
        pv.models.HierarchicalVAE((4,), latent_dims=(3,), posterior="von-mises-fisher")


def test_a_map_cuts_a_path_that_goes_around_and_keeps_areas_of_the_sphere():
    start, end = torch.tensor([[3.0, 0.0]]), torch.tensor([[-3.0, 0.5]])
    paths = TORUS.geodesic(start, end, torch.linspace(0, 1, 11).view(-1, 1, 1))
    mapped = latent_map(TORUS, start, paths)
    assert mapped.paths.isnull().any(("path", "coordinate")).sum() == 1
    torch.manual_seed(0)
    z = torch.nn.functional.normalize(torch.randn(20_000, 3), dim=-1)
    latitudes = torch.from_numpy(latent_map(SPHERE, z).points.values[:, 1])
    # Equal areas: the sine of the latitude of uniform directions is uniform on [-1, 1], of variance 1/3.
    assert abs(latitudes.var() - 1 / 3) < 4 * (4 / 45 / len(z)) ** 0.5
    with pytest.raises(ModelError, match="a latent map is of a sphere in"):
        latent_map(EUCLIDEAN, z)
