r"""The multi-level VAE of groups that share their content (Bouchacourt, Tomioka & Nowozin 2018, "ML-VAE").

    model:  c ~ N(0, I),   s_g ~ N(0, I),   x_g ~ p(x | decoder(c, s_g))             g = 1, ..., G
    guide:  q(c|x_1, ..., x_G) is proportional to prod_g N(c; m_g, diag v_g),   s_g ~ q(s_g|x_g)

with m_g, v_g and q(s_g|x_g) from one encoder of a member. The product has the sum of the members' precisions, and
their means weighted by precision (their equation 5): every member adds evidence about what all of them share. The
sites are "content" [C] and "style" [G, S]; the ELBO is per group.

Bouchacourt, Tomioka & Nowozin (2018): https://arxiv.org/abs/1705.08841
"""

from __future__ import annotations

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.arrays import Array
from ppl_vae.errors import ModelError
from ppl_vae.models.configuration import remembers
from ppl_vae.models.groups.group_pair import GroupPair, MemberDecoder, MemberRecognition
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.priors.priors import StandardNormalPrior
from ppl_vae.models.program_pair import Network, checked_size, on_request
from ppl_vae.models.programs import GuideProgram, LatentVariableProgram, require_event_shape


class GroupProgram(LatentVariableProgram):
    """The program p(c) prod_g p(s_g) p(x_g|c, s_g).

    Args:
        content_dim: C.
        style_dim: S.
        decoder: [B, G * (C + S)] -> features [B, P, G, *shape].
        likelihood: features -> p(x_1, ..., x_G|c, s), independent over members.
        event_shape: (G, *shape).
    """

    def __init__(
        self,
        content_dim: int,
        style_dim: int,
        decoder: MemberDecoder,
        likelihood: Likelihood,
        event_shape: tuple[int, ...],
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.content_prior, self.style_prior = StandardNormalPrior(), StandardNormalPrior()
        self.content_prior.build(content_dim)
        self.style_prior.build(style_dim)

    def latents(self) -> Tensor:
        """Draw c, s_1, ..., s_G, and give the members' codes side by side: [*batch, G * (C + S)]."""
        content = pyro.sample("content", self.content_prior())
        style = pyro.sample("style", self.style_prior().expand((self.event_shape[0],)).to_event(1))
        return self.member_codes(content, style)

    def member_codes(self, content: Tensor, style: Tensor) -> Tensor:
        """The members' codes side by side [*batch, G * (C + S)]: content [*batch, C], style [*batch, G, S]."""
        shared = content.unsqueeze(-2).expand(*style.shape[:-1], -1)
        return torch.cat([shared, style], -1).flatten(-2)


class EvidenceGuide(MemberRecognition):
    """The guide q(c|x_1, ..., x_G) prod_g q(s_g|x_g).

    Args:
        member: the guide of one member, whose code is content and style.
        content_dim: C.
        event_shape: (G, *shape).
    """

    def __init__(self, member: GuideProgram, content_dim: int, event_shape: tuple[int, ...]) -> None:
        super().__init__(member, event_shape)
        self.content_dim = content_dim

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: it draws the content and the styles, which it returns [N, G, S]."""
        with pyro.plate("data", self.begin(x)):
            content, style = self.posteriors(x)
            pyro.sample("content", content)
            return pyro.sample("style", style)

    def posteriors(self, x: Tensor) -> tuple[dist.TorchDistribution, dist.TorchDistribution]:
        """The posteriors of content, event shape [C], and style, [G, S], of groups x [N, G, *shape] for any G."""
        loc, scale = self.moments(x)
        content = gaussian_evidence(loc[..., : self.content_dim], scale[..., : self.content_dim])
        style = dist.Normal(loc[..., self.content_dim :], scale[..., self.content_dim :]).to_event(2)
        return content, style


def gaussian_evidence(loc: Tensor, scale: Tensor) -> dist.TorchDistribution:
    """The normalised product over g of diagonal Gaussians with moments [*batch, G, C]: event shape [C]."""
    # Relative to the narrowest, so that no square of a scale leaves the range of its precision.
    narrowest = scale.amin(-2, keepdim=True)
    weight = (narrowest / scale).square()
    total = weight.sum(-2)
    return dist.Normal((weight * loc).sum(-2) / total, narrowest.squeeze(-2) * total.rsqrt()).to_event(1)


class SharedContentVAE(GroupPair):
    """A VAE of groups whose members share a content and differ in style.

    Args:
        event_shape: (G, *shape), that of a group of G members.
        content_dim: C, what all members of a group share.
        style_dim: S, what each has for itself.
        network: between one member and its code of C + S numbers, as of VAE.
        likelihood: as of VAE.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an event shape that is no group's, an unknown name, a size below one, or parts that do not fit
            together.
    """

    kind = "shared-content"
    model: GroupProgram
    guide: EvidenceGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        content_dim: int = 5,
        style_dim: int = 5,
        network: Network = "mlp",
        likelihood: LikelihoodSpec = "bernoulli",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        self.content_dim = checked_size("content_dim", content_dim)
        self.style_dim = checked_size("style_dim", style_dim)
        width = self.content_dim + self.style_dim
        member, decoder, observed = self.observe_members(event_shape, width, network, likelihood, seed)
        self.model = GroupProgram(self.content_dim, self.style_dim, decoder, observed, self.event_shape)
        self.guide = EvidenceGuide(member.guide, self.content_dim, self.event_shape)

    @on_request
    def encode(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(content|x) of groups [N, G', *shape], any G': batch shape [N], event shape [C]."""
        return self.guide.posteriors(self._groups(x))[0]

    @on_request
    def styles(self, x: Array) -> dist.TorchDistribution:
        """The posterior of the styles of groups [N, G', *shape], any G': batch shape [N], event shape [G', S]."""
        return self.guide.posteriors(self._groups(x))[1]

    @on_request
    def decode(self, content: Array, style: Array) -> dist.TorchDistribution:
        """The likelihood of contents [*batch, C] and styles [*batch, G, S]: batch shape [*batch].

        Raises:
            ModelError: the two have other shapes.
        """
        shared, own = self.to_own(content), self.group_codes(style, self.style_dim, "style")
        if shared.shape != (*own.shape[:-2], self.content_dim):
            raise ModelError(
                f"site 'content': expected codes of shape {[*own.shape[:-2], self.content_dim]}, got "
                f"{list(shared.shape)}"
            )
        return self.model.decode(self.model.member_codes(shared, own))

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean of p(x|content, style) at the guide's means: [N, G, *shape]."""
        content, style = self.guide.posteriors(self.own_data(x))
        return self.decode(content.mean, style.mean).mean

    def _groups(self, x: Array) -> Tensor:
        """Data of any number of members as a tensor."""
        data = self.to_own(x)
        if data.dim() < 2:
            raise ModelError(f"site 'x': expected groups [N, G, *{self.event_shape[1:]}], got {list(data.shape)}")
        require_event_shape(data, (data.shape[1], *self.event_shape[1:]))
        self.model.require_observed(data)
        return data
