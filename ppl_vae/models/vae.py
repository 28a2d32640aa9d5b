"""The variational autoencoder (Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014) as a pair of programs.

Kingma & Welling (2014): https://arxiv.org/abs/1312.6114
Rezende, Mohamed & Wierstra (2014): https://arxiv.org/abs/1401.4082
"""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.checks import integer
from ppl_vae.declared import declared
from ppl_vae.errors import ModelError
from ppl_vae.models.configuration import Spec, own_config, remembers
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.count_networks import start_from
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.likelihoods.missingness import filled
from ppl_vae.models.priors.priors import PRIORS
from ppl_vae.models.priors.priors import prior as make_prior
from ppl_vae.models.program_pair import Network, ProgramPair, checked_size, on_request
from ppl_vae.models.programs import GenerativeProgram, GuideProgram, num_features
from ppl_vae.models.protocols import Posterior, Prior
from ppl_vae.randomness import seeded
from ppl_vae.renamed import also_called, by_keyword
from ppl_vae.spaces import Space


class VAE(ProgramPair):
    """A generative ``model`` and an amortised ``guide``, both Pyro programs with sites "z" and "x".

    Args:
        event_shape: the shape of one datum, for instance (1, 28, 28).
        latent_dim: the number of latent dimensions L.
        network: "mlp", "linear", "conv", "conv-tiny", an architecture from ``ppl_vae.networks``, or a pair of
            nn.Modules: an encoder [B, *event_shape] -> [B, H] and a decoder [B, L] -> [B, P * event_shape]. Of
            counts an encoder of ours sees log(1 + x), one of your own x.
        likelihood: a name such as "bernoulli" or "gaussian", or a Likelihood; for data with holes (NaN)
            {"name": "missing-pixels", "of": such a name}. An unknown name is answered by the list of all, here and
            below.
        prior: a name such as "standard" or "vamp", or a module whose forward gives p(z).
        posterior: a name such as "diagonal" or "flow", or a module whose forward turns features into q(z|x).
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a dimension below one, or parts that do not fit together.
    """

    kind = "vae"
    latent_dim: int
    model: GenerativeProgram
    guide: GuideProgram

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int,
        network: Network = "mlp",
        likelihood: LikelihoodSpec = "bernoulli",
        prior: Spec = "standard",
        posterior: Spec = "diagonal",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        _, observed = self.observe(event_shape, likelihood)
        self.latent_dim = checked_size("latent_dim", latent_dim)
        over_codes = make_prior(prior)
        family = self.infer(posterior, declared(Prior, over_codes).space)
        self.remember(prior=own_config(over_codes, PRIORS))
        with seeded(seed):
            self._assemble(network, observed, over_codes, family)

    def _assemble(self, network: Network, likelihood: Likelihood, prior: nn.Module, posterior: nn.Module) -> None:
        encoder, decoder = self.networks(network, declared(Prior, prior).space.inputs * self.latent_dim, likelihood)
        declared(Prior, prior).build(self.latent_dim)
        declared(Posterior, posterior).build(num_features(encoder, self.event_shape), self.latent_dim)
        self.model = GenerativeProgram(prior, decoder, likelihood, self.event_shape)
        self.guide = GuideProgram(encoder, posterior, self.event_shape, likelihood.allows_missing)
        declared(Prior, prior).attach(self.guide, self.event_shape)
        declared(Posterior, posterior).attach(self.model)

    @by_keyword("seed")
    def initialise(self, x: Array, *, seed: int = 0) -> None:
        """Let the parts that can start from data [N, *event_shape] do so.

        The pseudo-inputs of a VampPrior become data, and a decoder of ours starts at the rates of counts.
        """
        data = self.own_data(x)
        self.model.likelihood.look_at(data)
        if self.config["network"] is not None:
            start_from(data, self.model.decoder, self.model.likelihood)
        with seeded(seed, data.device):
            declared(Prior, self.model.prior).initialise(filled(data))

    @on_request
    def encode(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(z|x) for data [N, *event_shape]: batch shape [N], event shape [latent_dim].

        In evaluation mode no gradient is recorded, unless x requires one.
        """
        return self.guide.encode(self.own_data(x))

    @on_request
    def decode(self, z: Array) -> dist.TorchDistribution:
        """The likelihood p(x|z) for codes [*batch, latent_dim]: batch shape [*batch], event_shape as the data's.

        In evaluation mode no gradient is recorded, unless z requires one.
        """
        codes = self.to_own(z)
        if codes.dim() < 2 or codes.shape[-1] != self.latent_dim:
            raise ModelError(f"site 'z': expected codes of shape [N, {self.latent_dim}], got {list(codes.shape)}")
        return self.model.decode(codes)

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean of p(x|z) at the guide's mean: [N, *event_shape]."""
        return self.decode(self.encode(x).mean).mean

    @property
    def space(self) -> Space:
        """The space of its codes, which the prior names."""
        return declared(Prior, self.model.prior).space

    @also_called(steps="num_steps")
    @torch.no_grad()
    def interpolate(self, x1: Array, x2: Array, num_steps: int = 8) -> Tensor:
        """Decode the shortest way between the guide's means into means: [steps, N, *event_shape].

        A straight line, or what is one in the space of the codes (``space.geodesic``).
        """
        start, end = self.encode(x1).mean, self.encode(x2).mean
        number = integer("num_steps", num_steps)
        weight = torch.linspace(0, 1, number, dtype=start.dtype, device=start.device).view(-1, 1, 1)
        return self.decode(self.space.geodesic(start, end, weight)).mean

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters by their part in the model: the two heads, the encoder's body, the decoder."""
        posterior = declared(Posterior, self.guide.posterior)
        heads = {"encoder mean head": posterior.loc_head, "encoder scale head": posterior.scale_head}
        groups = {name: list(head.parameters()) for name, head in heads.items() if head is not None}
        taken = {id(p) for group in groups.values() for p in group}
        groups["encoder body"] = [p for p in self.guide.parameters() if id(p) not in taken]
        groups["decoder"] = list(self.model.parameters())
        return {name: group for name, group in groups.items() if group}
