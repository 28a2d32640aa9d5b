r"""Regularised autoencoders (Ghosh, Sajjadi, Vergari, Black & Schoelkopf 2020): what takes the place of a KL.

    code norm           score - weight 1/2 |z|^2
    decoder gradient    score - weight |d E[x|z] / dz|_F^2               (RAE-GP)
    decoder norm        score - weight |theta|^2                         (RAE-L2)
    spectral norm       score - weight sum_i s_1(W_i)                    (Vahdat & Kautz 2020, eq. 5)

The first keeps codes where a density can be fitted to them afterwards (``models.with_post_hoc_prior``), the others
keep the decoder smooth. None of this is a bound. The Frobenius norm is estimated without bias by one random
projection of the decoder's outputs, |J' v|^2 with v ~ N(0, I).

Ghosh et al. (2020), eq. 5 to 8: https://arxiv.org/abs/1903.12436
Vahdat & Kautz (2020): https://arxiv.org/abs/2007.03898
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppl_vae.checks import real
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.objectives.weightings import Weighting
from ppl_vae.inference.pair.masked_latents import require_unmasked
from ppl_vae.inference.pair.scales import value_mask
from ppl_vae.inference.pair.terms import Site, Terms


class CodeNorm(Weighting):
    """A weight on half the squared norm of every latent site's draws.

    Args:
        elbo: the objective that it is added to, or its name.
        weight: nats per unit of |z|^2 / 2.
    """

    def __init__(self, elbo: str | Objective, weight: float = 1.0) -> None:
        super().__init__(elbo)
        self.weight = real("weight", weight, least=0)

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the penalised score, nats per datum."""
        norms = [_squared_norm(site) for site in terms.sites.values()]
        shape = terms.log_likelihood.shape
        return self.weighted.forward(terms, step) + 0.5 * self.weight * sum(norms) / (shape[0] * shape[1])

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"weight={self.weight}"


class DecoderGradient(Weighting):
    """A weight on the squared Frobenius norm of the decoder's derivative at the codes.

    Args:
        elbo: the objective that it is added to, or its name.
        weight: nats per unit of the squared norm.
    """

    def __init__(self, elbo: str | Objective, weight: float = 0.1) -> None:
        super().__init__(elbo)
        self.weight = real("weight", weight, least=0)

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the penalised score, nats per datum."""
        return self.weighted.forward(terms, step) + self.weight * self.penalty(terms)

    def penalty(self, terms: Terms) -> Tensor:
        """The estimate of the squared norm, a mean over draws and data: a scalar with gradients.

        Raises:
            ModelError: there are several sites, or the draws have no derivative, as without gradients.
        """
        site = _only_site("the gradient penalty", terms)
        require_unmasked(terms)
        (observed,) = terms.observations.values()
        mean = observed.p.mean
        if not (site.draw.requires_grad and mean.requires_grad):
            raise ModelError(
                f"site {site.name!r}: the gradient penalty differentiates the decoder at draws of the guide, and "
                "these have no derivative: gradients are switched off, or the guide has no trainable parameter"
            )
        projected = (mean * torch.randn_like(mean)).sum()
        (found,) = torch.autograd.grad(projected, site.draw, create_graph=True)
        shape = terms.log_likelihood.shape
        return found.square().sum() / (shape[0] * shape[1])

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"weight={self.weight}"


class DecoderNorm(Weighting):
    """A weight on the squared norm of a network's parameters, the decoder's.

    Args:
        elbo: the objective that it is added to, or its name.
        decoder: the network; its parameters stay the model's.
        weight: nats per unit of the squared norm.
    """

    def __init__(self, elbo: str | Objective, decoder: nn.Module, weight: float = 1e-3) -> None:
        super().__init__(elbo)
        self.weight = real("weight", weight, least=0)
        # In a tuple, so that nn.Module does not take the decoder for a part of the objective.
        self._decoder = (decoder,)

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the penalised score, nats per datum."""
        (decoder,) = self._decoder
        norm = torch.stack([parameter.square().sum() for parameter in decoder.parameters()]).sum()
        return self.weighted.forward(terms, step) + self.weight * norm

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"weight={self.weight}"


class SpectralNorm(Weighting):
    """A weight on the largest singular value of every layer of some networks, which keeps deep paths stable.

    A convolution is taken for the matrix [outputs, inputs x kernel].

    Args:
        elbo: the objective that it is added to, or its name.
        networks: whose layers are held; their parameters stay the pair's.
        weight: nats per unit of the sum of norms.
    """

    def __init__(self, elbo: str | Objective, *networks: nn.Module, weight: float = 1e-2) -> None:
        super().__init__(elbo)
        self.weight = real("weight", weight, least=0)
        self._networks = networks

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the penalised score, nats per datum."""
        return self.weighted.forward(terms, step) + self.weight * self.penalty()

    def penalty(self) -> Tensor:
        """The sum of the largest singular values: a scalar with gradients."""
        layers = [layer for network in self._networks for layer in network.modules()]
        matrices = [layer.weight.flatten(1) for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]
        return torch.stack([torch.linalg.matrix_norm(matrix, 2) for matrix in matrices]).sum()

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"weight={self.weight}"


def _squared_norm(site: Site) -> Tensor:
    """The sum of squares over draws, data and coordinates, without what a mask leaves out: a scalar."""
    square, mask = site.draw.square(), value_mask(site.q, site.mask)
    return (square if mask is None else torch.where(mask.to(square.device), square, 0.0)).sum()


def _only_site(what: str, terms: Terms) -> Site:
    if len(terms.sites) != 1 or len(terms.observations) != 1:
        raise ModelError(
            f"{what} needs one latent and one observed site, got {list(terms.sites)} and {list(terms.observations)}"
        )
    (site,) = terms.sites.values()
    return site
