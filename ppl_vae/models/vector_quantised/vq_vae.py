r"""The vector-quantised VAE (van den Oord, Vinyals & Kavukcuoglu 2017) as a pair of Pyro programs.

    model:  k_1, ..., k_M ~ p(k),   z_m = e_{k_m},   x ~ p(x | decoder(z_1, ..., z_M))
    guide:  z_m = e_{k_m},   k_m = argmin_i |encoder(x)_m - e_i|            one-hot q(k|x)

The site "z" holds the code words [M, D]: K^M values, so the model is a discrete one, and with one-hot q

    log p(x) >= log p(x | z = e_k(x)) + log p(k(x))

is its ELBO, KL(q || p) being -log p(k(x)): M log K under the uniform prior, whatever the encoder does. This is what
``evaluate`` reports. Its gap is -log p(k(x) | x), what the true posterior gives to other codes, and no number of
draws from a one-hot q closes it: all importance weights of a datum are equal, which is here no sign of an exact
posterior. ``log_evidence`` and k-hat refuse this pair; judge by importance weights the pair ``softened``.

The loss in training (``inf.VectorQuantisation``) is not that bound: the encoder's gradient is the
straight-through one, which is biased, and the commitment and codebook terms pull z and e together and are no part
of any bound. The learned prior is trained by the bound itself, log p(k) having no gradient for the encoder, so that
encoder, codes and decoder are those of training under the uniform prior.

van den Oord, Vinyals & Kavukcuoglu (2017): https://arxiv.org/abs/1711.00937
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.declared import declared
from ppl_vae.errors import ModelError
from ppl_vae.models.configuration import Spec, own_config, remembers
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.program_pair import Network, ProgramPair, checked_size, on_request
from ppl_vae.models.programs import LatentVariableProgram, Recognition, num_features
from ppl_vae.models.protocols import CodePrior
from ppl_vae.models.vector_quantised.code_prior import CODE_PRIORS, code_prior
from ppl_vae.models.vector_quantised.code_words import CodeWords, NearestCode
from ppl_vae.models.vector_quantised.codebook import Codebook, checked_indices, perplexity
from ppl_vae.models.vector_quantised.softened_guide import SoftenedGuide
from ppl_vae.randomness import seeded

CHUNK = 1024


class CodebookProgram(LatentVariableProgram):
    """The program p(k) p(x | e_k).

    Args:
        prior: forward gives p(k), event shape [M], integers.
        codebook: the codes.
        decoder: [B, M D] -> [B, P * prod(event_shape)] in any trailing shape.
        likelihood: features -> p(x|z).
        event_shape: the shape of one datum.
    """

    def __init__(
        self,
        prior: nn.Module,
        codebook: Codebook,
        decoder: nn.Module,
        likelihood: Likelihood,
        event_shape: tuple[int, ...],
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.prior, self.codebook = prior, codebook

    def latents(self) -> Tensor:
        """Draw z ~ p(z): [*batch, M D]."""
        # Copied, because a training step moves the codes while these densities are still asked for.
        codes = self.codebook.code.detach().clone()
        return pyro.sample("z", CodeWords(self.prior(), codes)).flatten(-2)


class QuantisingGuide(Recognition):
    """The guide q(z|x), a point mass at the codes nearest to the encoder's outputs.

    Args:
        encoder: [N, *event_shape] -> features [N, H].
        codebook: the model's.
        num_cells: M.
        event_shape, allows_missing: as of ``models.programs.Recognition``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        codebook: Codebook,
        num_cells: int,
        event_shape: tuple[int, ...],
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, event_shape, allows_missing)
        self.sizes = num_cells, codebook.code.shape[1]
        self.head = nn.Linear(num_features(encoder, event_shape), num_cells * self.sizes[1])
        # In a tuple, so that nn.Module does not take the codes for a part of the guide.
        self._codebook = (codebook,)

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: z [N, M, D] are the code words of x."""
        with pyro.plate("data", self.begin(x)):
            return pyro.sample("z", self.encode(x))

    def encode(self, x: Tensor) -> NearestCode:
        """The posterior q(z|x) of x [N, *event_shape]: batch shape [N], event shape [M, D]."""
        (codebook,) = self._codebook
        encoded = self.head(self.features(x)).unflatten(-1, self.sizes)
        return NearestCode(encoded.to(codebook.code.dtype), codebook)


class VQVAE(ProgramPair):
    """A VAE of M cells, each with one of K code words in R^D, all in the site "z".

    Args:
        event_shape: the shape of one datum.
        num_cells: M, the size of the flattened grid of codes.
        num_codes: K (512 in the paper).
        code_dim: D (64 there).
        network: as of VAE; a decoder of the user's own maps [B, M D].
        likelihood: as of VAE.
        prior: over the codes: "autoregressive", "uniform", or a module whose forward gives p(k).
        codebook: how the codes learn: "ema", "gradient", or options of ``Codebook`` besides its sizes.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.
    """

    kind = "vector-quantised"
    model: CodebookProgram
    guide: QuantisingGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        num_cells: int = 16,
        num_codes: int = 64,
        code_dim: int = 8,
        network: Network = "mlp",
        likelihood: LikelihoodSpec = "bernoulli",
        prior: Spec = "autoregressive",
        codebook: str | Mapping[str, object] = "ema",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        self.num_cells, self.num_codes = checked_size("num_cells", num_cells), checked_size("num_codes", num_codes)
        over_codes = code_prior(prior)
        self.remember(prior=own_config(over_codes, CODE_PRIORS))
        with seeded(seed):
            codes = made_codebook(self.num_codes, code_dim, codebook)
            self.remember(codebook=codes.config)
            encoder, decoder = self.networks(network, self.num_cells * codes.code.shape[1], observed)
            declared(CodePrior, over_codes).build(self.num_cells, self.num_codes)
            self.model = CodebookProgram(over_codes, codes, decoder, observed, shape)
            self.guide = QuantisingGuide(encoder, codes, self.num_cells, shape, observed.allows_missing)

    @property
    def codebook(self) -> Codebook:
        """The codes."""
        return self.model.codebook

    @property
    def grid(self) -> tuple[int, int]:
        """The grid of M cells and K codes."""
        return self.num_cells, self.num_codes

    @on_request
    def encode(self, x: Array) -> NearestCode:
        """The posterior q(z|x) for data [N, *event_shape]: batch shape [N], event shape [M, D]."""
        return self.guide.encode(self.own_data(x))

    @torch.no_grad()
    def codes(self, x: Array) -> Tensor:
        """The indices k(x) for data [N, *event_shape]: [N, M], integers."""
        return torch.cat([self.guide.encode(batch).indices for batch in self.own_data(x).split(CHUNK)])

    @on_request
    def decode(self, k: Array) -> dist.TorchDistribution:
        """The likelihood p(x | e_k) of indices k [*batch, M] or code words z [*batch, M, D]: batch [*batch]."""
        codes = torch.as_tensor(k, device=self.codebook.code.device)
        if not codes.is_floating_point():
            return self.model.decode(self.codebook(checked_indices(codes, *self.grid)).flatten(-2))
        words = self.to_own(codes)
        cells, code_dim = self.guide.sizes
        if words.dim() < 3 or tuple(words.shape[-2:]) != (cells, code_dim):
            raise ModelError(
                f"site 'z': expected code words of shape [N, {cells}, {code_dim}] or integers of shape "
                f"[N, {cells}], got {words.dtype} of shape {list(words.shape)}"
            )
        return self.model.decode(words.flatten(-2))

    @torch.no_grad()
    def reconstruct(self, x: Array) -> Tensor:
        """The mean of p(x|z) at the nearest codes: [N, *event_shape]."""
        return self.model.decode(self.encode(x).mean.flatten(-2)).mean

    def log_prior(self, k: Array) -> Tensor:
        """The log prior log p(k) of indices [*batch, M]: [*batch], nats."""
        codes = torch.as_tensor(k, device=self.codebook.code.device)
        return self.model.prior().log_prob(checked_indices(codes, *self.grid))

    def perplexity(self, x: Array) -> float:
        """The exponential of the entropy of the codes' use by data [N, *event_shape]: from 1 to K codes."""
        used = self.codes(x).flatten().bincount(minlength=self.num_codes)
        return perplexity(used.double()).item()

    def softened(self, temperature: float) -> tuple[CodebookProgram, SoftenedGuide]:
        """The pair with a guide of full support: with draws, ``log_evidence`` of it closes on log p(x)."""
        return self.model, SoftenedGuide(self.guide, temperature)

    @contextlib.contextmanager
    def only_prior(self) -> Iterator[None]:
        """The paper's second stage: ``fit(vae, data, "analytic-kl")`` inside trains the prior alone."""
        prior = {id(p) for p in self.model.prior.parameters()}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in prior]
        for parameter in rest:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in rest:
                parameter.requires_grad_(True)


def made_codebook(num_codes: int, code_dim: int, spec: str | Mapping[str, Any]) -> Codebook:
    """Make a codebook from how it learns, or from options of it.

    Raises:
        ModelError: an option is unknown or out of its range.
    """
    options = {"learning": spec} if isinstance(spec, str) else spec
    try:
        return Codebook(num_codes, code_dim, **options)
    except TypeError as error:
        raise ModelError(f"codebook: {error}") from error
