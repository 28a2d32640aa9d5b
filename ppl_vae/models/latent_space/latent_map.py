"""Coordinates in which a picture of codes is true to their space."""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.spaces import POINCARE_BALL, SPHERE, TORUS, Space

# The axes of such pictures, left to right and bottom to top.
FRAMES = {
    SPHERE.name: ((-math.pi, math.pi), (-1.0, 1.0)),
    TORUS.name: ((-math.pi, math.pi), (-math.pi, math.pi)),
    POINCARE_BALL.name: ((-1.0, 1.0), (-1.0, 1.0)),
}


def latent_map(space: Space, codes: Tensor, paths: Tensor | None = None) -> xr.Dataset:
    """Lay codes out as a map: of the sphere in R^3 with equal areas, the square of a torus, the disc of a ball.

    The map of a sphere is longitude against the sine of the latitude; of the circle in R^2 it is the circle. Of a
    torus or ball of more dimensions the first two coordinates are drawn. A path that leaves the map on one side and
    comes back on the other is cut there.

    Args:
        space: of the codes, such as ``vae.space``.
        codes: [N, L].
        paths: points of P ways, such as geodesics, [steps, P, L]; None for none.

    Raises:
        ModelError: the space has no such map.

    >>> from ppl_vae.spaces import SPHERE
    >>> latent_map(SPHERE, torch.tensor([[0.0, 0.0, 1.0]])).points.values
    array([[0., 1.]], dtype=float32)
    """
    frame = FRAMES.get(space.name)
    dim = codes.shape[-1]
    if frame is None or dim < 2 or (space == SPHERE and dim > 3):
        raise ModelError(f"a latent map is of a sphere in R^2 or R^3, a torus or a ball; got {dim} in {space.name}")
    is_round = space == POINCARE_BALL or (space == SPHERE and dim == 2)
    names = ("longitude", "sine of the latitude") if space == SPHERE and dim == 3 else ("z1", "z2")
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "points": (("datum", "coordinate"), _planar(space, codes))
    }
    if paths is not None:
        flat = _planar(space, paths)
        if not is_round:
            jumps = (np.abs(np.diff(flat, axis=0)) > math.pi).any(-1)
            flat[1:][jumps] = np.nan
        variables["paths"] = (("step", "path", "coordinate"), flat)
    attrs = {"space": space.name, "round": int(is_round), "left_right": frame[0], "bottom_top": frame[1]}
    if is_round:
        attrs |= {"left_right": (-1.0, 1.0), "bottom_top": (-1.0, 1.0)}
    return xr.Dataset(variables, coords={"coordinate": list(names)}, attrs=attrs)


def _planar(space: Space, z: Tensor) -> np.ndarray:
    """The coordinates [..., 2] of codes [..., L]."""
    if space == SPHERE and z.shape[-1] == 3:
        z = torch.stack([torch.atan2(z[..., 1], z[..., 0]), z[..., 2]], -1)
    return z[..., :2].detach().cpu().numpy().copy()
