r"""VAEs of several modalities, any of which may be missing from any datum.

    fusion                 guide                                             paper
    "product"              product of experts                                Wu & Goodman 2018 (MVAE)
    "mixture"              mixture of experts                                Shi et al. 2019 (MMVAE)
    "mixture-of-products"  mixture of products of all sets of experts        Sutter et al. 2021 (MoPoE)
    "joint-flow"           a joint encoder, and flows given what is there    Senellart et al. 2023 (JNF)

With ``private_dim`` every modality has latents of its own beside the shared ones (MMVAE+, Palumbo et al. 2023):
the expert of modality m says nothing of the private latents of the others, which have a width that is learned. The
bound is that of the whole z = (shared, private), so that it stays below log p(x). Experts are Gaussians throughout,
where Shi et al. and Palumbo et al. took Laplace distributions; draws from mixtures are not stratified.

Palumbo, Daunhawer & Vogt (2023): https://openreview.net/forum?id=sdQGxouELX
Senellart, Chadebec & Allassonniere (2023): https://arxiv.org/abs/2312.14085
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.checks import integer, truth
from ppl_vae.declared import declared
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.exclusive import exclusive
from ppl_vae.models.configuration import remembers
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec, MissingPixels
from ppl_vae.models.likelihoods.missingness import encoder_of
from ppl_vae.models.multimodal.fusion import FUSIONS
from ppl_vae.models.multimodal.modalities import Modalities, ModalitySpec
from ppl_vae.models.multimodal.multimodal_programs import (
    ExpertsGuide,
    JointFlowGuide,
    ModalityDecoders,
    ModalityEncoders,
    MultimodalProgram,
    num_features,
)
from ppl_vae.models.posteriors.flow_posterior import FlowPosterior
from ppl_vae.models.posteriors.posteriors import DiagonalPosterior
from ppl_vae.models.program_pair import ProgramPair, checked_shape, checked_size, network_config, on_request
from ppl_vae.models.programs import num_features as features_of
from ppl_vae.models.protocols import Posterior
from ppl_vae.networks import Architecture, architecture
from ppl_vae.randomness import seeded

JOINT_FLOW = "joint-flow"


class MultimodalVAE(ProgramPair):
    """A VAE with one observed site for each modality, and a guide for every set of modalities that is there.

    Data are arrays [N, *event_shape], of which the modalities are consecutive blocks: rows of images, columns of
    vectors. NaN in all of a block is a missing modality, NaN in a part of it a missing coordinate.

    Args:
        event_shape: the shape of a whole datum.
        latent_dim: the number of shared latent dimensions.
        modalities: how many equal blocks, named "x1", "x2", ...; or the size of each by its name.
        fusion: "product", "mixture", "mixture-of-products" or "joint-flow".
        private_dim: the number of latent dimensions that each modality has for itself; not of "joint-flow".
        network: an architecture by name or options, from which every modality makes its own.
        likelihood: a name or a Likelihood, independent over coordinates, of all modalities.
        flow: the kind of the flows of "joint-flow": "iaf" or "spline".
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.
    """

    kind = "multimodal"
    model: MultimodalProgram
    guide: ExpertsGuide | JointFlowGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int = 8,
        modalities: ModalitySpec = 2,
        fusion: str = "product",
        private_dim: int = 0,
        network: str | dict[str, object] | Architecture = "mlp",
        likelihood: LikelihoodSpec = "bernoulli",
        flow: str = "spline",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        self.blocks = Modalities.of(checked_shape(event_shape), modalities)
        self.remember(modalities=dict(self.blocks.sizes))
        _, observed = self.observe(event_shape, with_holes(likelihood))
        self.shared_dim = checked_size("latent_dim", latent_dim)
        self.private_dim = integer("private_dim", private_dim, least=0)
        self.total_dim = self.shared_dim + len(self.blocks.names) * self.private_dim
        if fusion not in (*FUSIONS, JOINT_FLOW):
            raise ModelError(unknown_name("fusion", fusion, (*FUSIONS, JOINT_FLOW)))
        if fusion == JOINT_FLOW and self.private_dim:
            raise ModelError("private_dim: latents of one modality need experts; 'joint-flow' has none")
        if isinstance(network, tuple):
            raise ModelError("network must be a name or an architecture, from which every modality makes its own")
        chosen = architecture(network)
        self.remember(latent_dim=self.shared_dim, network=network_config(chosen))
        with seeded(seed):
            self._assemble(chosen, observed, fusion, flow)

    def _assemble(self, chosen: Architecture, likelihood: Likelihood, fusion: str, flow: str) -> None:
        shapes, own = self.blocks.shapes.values(), self.shared_dim + self.private_dim
        encoders = ModalityEncoders([encoder_of(chosen, shape, likelihood) for shape in shapes], self.blocks)
        decoders = [chosen.decoder(own, shape, likelihood.num_parameters) for shape in shapes]
        joined = ModalityDecoders(decoders, self.blocks, likelihood.num_parameters, self.private_dim)
        self.model = MultimodalProgram(self.total_dim, joined, likelihood, self.blocks)
        if fusion == JOINT_FLOW:
            self.guide = self._joint_flow(chosen, likelihood, encoders, flow)
            return
        heads = [_built(DiagonalPosterior(), number, own) for number in num_features(encoders)]
        self.guide = ExpertsGuide(encoders, heads, FUSIONS[fusion], self.private_dim)

    def _joint_flow(
        self, chosen: Architecture, likelihood: Likelihood, single: ModalityEncoders, flow: str
    ) -> JointFlowGuide:
        whole = encoder_of(chosen, self.event_shape, likelihood)
        joint = _built(DiagonalPosterior(), features_of(whole, self.event_shape), self.shared_dim)
        seen = sum(num_features(single)) + len(self.blocks.names)
        family = FlowPosterior(flow, hidden=max(64, self.shared_dim))
        if not family.invertible:
            raise ModelError(f"flow {flow!r} has no density at draws of the joint guide; take 'iaf' or 'spline'")
        return JointFlowGuide(whole, joint, single, _built(family, seen, self.shared_dim))

    def hide(self, x: Array, *names: str) -> Tensor:
        """Copy data [N, *event_shape] with some modalities missing, by name."""
        data = self.own_data(x)
        return torch.where(self.blocks.hidden(names).to(data.device), torch.nan, data)

    @on_request
    def encode(self, x: Array) -> torch.distributions.Distribution:
        """The posterior q(z|x) given the modalities of x [N, *event_shape] that are there: batch shape [N]."""
        return self.guide.encode(self.own_data(x))

    @on_request
    def decode(self, z: Array) -> torch.distributions.Distribution:
        """The likelihood p(x|z) of whole data, for codes [*batch, total_dim]: batch shape [*batch]."""
        codes = self.to_own(z)
        if codes.dim() < 2 or codes.shape[-1] != self.total_dim:
            raise ModelError(f"site 'z': expected codes of shape [N, {self.total_dim}], got {list(codes.shape)}")
        return self.model.decode(codes)

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean of p(x|z) at the guide's mean, for all modalities: [N, *event_shape]."""
        return self.decode(self.encode(x).mean).mean

    @exclusive()
    @torch.no_grad()
    def complete(self, x: Array, num_draws: int = 1, with_noise: bool = False) -> Tensor:
        """Draw whole data given the modalities of x that are there: [num_draws, N, *event_shape].

        z is drawn from the guide; each draw is the mean of p(x|z), or with noise x itself. Draws come from torch's
        global generator.
        """
        z = self.encode(x).sample((integer("num_draws", num_draws),))
        # The private latents of a modality that is not seen are the prior's, as in a draw without any data.
        p = self.decode(self._with_private_priors(z, self.blocks.present(self.own_data(x))))
        return p.sample() if truth("with_noise", with_noise) else p.mean

    def _with_private_priors(self, z: Tensor, present: Tensor) -> Tensor:
        if not self.private_dim:
            return z
        missing = (~present).repeat_interleave(self.private_dim, 1)
        private = torch.where(missing, torch.randn_like(z[..., self.shared_dim :]), z[..., self.shared_dim :])
        return torch.cat([z[..., : self.shared_dim], private], -1)


def with_holes(likelihood: LikelihoodSpec) -> LikelihoodSpec:
    """The likelihood itself where it takes missing coordinates, else the one for data with holes made from it."""
    if isinstance(likelihood, Likelihood):
        return likelihood if likelihood.allows_missing else MissingPixels(likelihood, encoder_sees_mask=False)
    name = likelihood if isinstance(likelihood, str) else likelihood.get("name")
    if name == MissingPixels.name:
        return likelihood
    return {"name": MissingPixels.name, "of": likelihood, "encoder_sees_mask": False}


def _built(family: nn.Module, number: int, dim: int) -> nn.Module:
    declared(Posterior, family).build(number, dim)
    return family
