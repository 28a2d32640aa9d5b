r"""Arithmetic on codes: the direction of an attribute in latent space, and what lies along it.

    v = mean of E_q[z|x] over data with the attribute - the same mean over data without it
    x(alpha) = E[x | z + alpha v]

Larsen, Sønderby, Larochelle & Winther 2016, "Autoencoding beyond pixels using a learned similarity metric".

Larsen, Sønderby, Larochelle & Winther (2016): https://arxiv.org/abs/1512.09300
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.errors import DataError
from ppl_vae.models.vae import VAE


def attribute_vector(codes: Tensor, has_attribute: Tensor) -> Tensor:
    """The mean code with an attribute minus the mean code without it: [L].

    Args:
        codes: one code a datum, such as the guide's means, [N, L].
        has_attribute: whether each datum has it, boolean [N].

    Raises:
        DataError: shapes that do not fit, or no datum with or none without the attribute.

    >>> attribute_vector(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.tensor([False, True]))
    tensor([2., 0.])
    """
    if codes.dim() != 2 or has_attribute.dtype != torch.bool or has_attribute.shape != codes.shape[:1]:
        raise DataError(
            f"has_attribute: expected booleans [N] for codes [N, L], found {has_attribute.dtype} "
            f"{list(has_attribute.shape)} for codes {list(codes.shape)}"
        )
    if has_attribute.all() or not has_attribute.any():
        raise DataError(
            f"has_attribute: expected data with and data without, found {int(has_attribute.sum())} "
            f"of {len(codes)} with"
        )
    return codes[has_attribute].mean(0) - codes[~has_attribute].mean(0)


@torch.no_grad()
def decode_along(vae: VAE, codes: Tensor, direction: Tensor, alphas: Tensor) -> Tensor:
    """Decode z + alpha v into means: [N, steps, *event_shape].

    Args:
        vae: whose decoder is used.
        codes: z, [N, L].
        direction: v, [L].
        alphas: the weights, [steps].
    """
    return vae.decode(codes[:, None, :] + alphas[:, None] * direction).mean
