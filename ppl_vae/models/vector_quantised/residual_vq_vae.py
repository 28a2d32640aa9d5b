r"""Hierarchical residual quantisation (HRQ, Adiban, Stefanov, Siniscalchi & Salvi 2022).

    guide:  r_0 = encoder(x),   k_l = argmin over the children of k_l-1 of |r_l-1 - e_k|,   r_l = r_l-1 - e_{k_l}
    model:  k_1 ~ p(k_1),   k_l ~ p(k_l | k_l-1),   z_l = e_{k_l},   x ~ p(x | decoder(z_1 + ... + z_L))

In each of M cells level l refines what level l - 1 has left over, and searches C codes of the C^l that the level
has: those that belong to the parent. The sites are "z1", the coarsest, to "zL". The prior over the tree is learned
by the bound, which is the one of ``vq_vae``; so are the loss in training and the refusals. The straight-through
gradient passes once, at "z1"; what is left over at each level reaches the encoder by its commitment.

Adiban et al. (2022): https://arxiv.org/abs/2208.04554
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array
from ppl_vae.checks import integer
from ppl_vae.errors import ModelError
from ppl_vae.models.configuration import remembers
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.program_pair import Network, ProgramPair, checked_size
from ppl_vae.models.programs import LatentVariableProgram, Recognition, num_features
from ppl_vae.models.vector_quantised.child_codes import ChildCodes, ChildIndices, nearest_child
from ppl_vae.models.vector_quantised.code_words import CodeWords, NearestCode
from ppl_vae.models.vector_quantised.codebook import Codebook
from ppl_vae.models.vector_quantised.vq_vae import made_codebook
from ppl_vae.randomness import seeded


class ResidualProgram(LatentVariableProgram):
    """The program p(k_1) p(k_2 | k_1) ... p(x | sum of code words).

    Args:
        codebooks: of each level, C, C^2, ... codes.
        num_cells: M.
        decoder: [B, M D] -> [B, P * prod(event_shape)] in any trailing shape.
        likelihood: features -> p(x|z).
        event_shape: the shape of one datum.
    """

    def __init__(
        self,
        codebooks: Sequence[Codebook],
        num_cells: int,
        decoder: nn.Module,
        likelihood: Likelihood,
        event_shape: tuple[int, ...],
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.codebooks = nn.ModuleList(codebooks)
        self.num_cells = num_cells
        self.num_children = len(codebooks[0].code)
        sizes = [len(codes.code) // self.num_children for codes in codebooks]
        self.logits = nn.ParameterList(torch.zeros(size, self.num_children) for size in sizes)

    @property
    def books(self) -> list[Codebook]:
        """The codebooks of the levels."""
        return [book for book in self.codebooks if isinstance(book, Codebook)]

    def latents(self) -> Tensor:
        """Draw z_1, ..., z_L and return their sum [*batch, M D]."""
        total: Tensor | None = None
        find: Callable[[Tensor], Tensor] | None = None
        indices: dist.TorchDistribution = dist.Categorical(logits=self.logits[0].expand(self.num_cells, -1))
        indices = indices.to_event(1)
        for level, codebook in enumerate(self.books, 1):
            # Copied, because a training step moves the codes while these densities are still asked for.
            words = CodeWords(indices, codebook.code.detach().clone(), find)
            z = pyro.sample(f"z{level}", words)
            total = z if total is None else total + z.detach()
            if level < len(self.books):
                parent, following = words.find(z.detach()), self.books[level]
                indices = ChildIndices(parent, self.logits[level][parent])
                find = functools.partial(
                    nearest_child,
                    codes=following.code.detach().clone(),
                    parent=parent,
                    num_children=self.num_children,
                )
        if total is None:
            raise ModelError("a residual quantisation needs a level")
        return total.flatten(-2)


class ResidualGuide(Recognition):
    """The guide: at every level a point mass at the nearest child code of what the levels above have left over.

    Args:
        encoder: [N, *event_shape] -> features [N, H].
        model: whose codebooks it reads.
        event_shape, allows_missing: as of ``models.programs.Recognition``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        model: ResidualProgram,
        event_shape: tuple[int, ...],
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, event_shape, allows_missing)
        first = model.books[0]
        self.sizes = model.num_cells, first.code.shape[1]
        self.head = nn.Linear(num_features(encoder, event_shape), self.sizes[0] * self.sizes[1])
        # In a tuple, so that nn.Module does not take the codes for a part of the guide.
        self._model = (model,)

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: z_1, ..., z_L are the code words of x; it returns the last."""
        with pyro.plate("data", self.begin(x)):
            for level, q in enumerate(self.encode(x), 1):
                z = pyro.sample(f"z{level}", q)
            return z

    def encode(self, x: Tensor) -> list[NearestCode]:
        """The point masses of every level for x [N, *event_shape]: batch shape [N], event shape [M, D]."""
        (model,) = self._model
        left = self.head(self.features(x)).unflatten(-1, self.sizes)
        found: list[NearestCode] = []
        for codebook in model.books:
            parent = found[-1].indices if found else None
            found.append(
                NearestCode(left.to(codebook.code.dtype), ChildCodes(codebook, parent, model.num_children))
            )
            left = left - found[-1].code.detach()
        return found


class ResidualVQVAE(ProgramPair):
    """A VAE of M cells, each with a code word at every one of L levels of a tree of codes.

    Args:
        event_shape: the shape of one datum.
        num_cells: M.
        num_codes: C, the children of every code; level l has C^l codes.
        num_levels: L.
        code_dim: D.
        network: as of VAE; a decoder of the user's own maps [B, M D].
        likelihood: as of VAE.
        codebook: how the codes learn: "ema", or options of ``Codebook`` besides its sizes.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.
    """

    kind = "residual-quantised"
    model: ResidualProgram
    guide: ResidualGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        num_cells: int = 4,
        num_codes: int = 8,
        num_levels: int = 3,
        code_dim: int = 16,
        network: Network = "mlp",
        likelihood: LikelihoodSpec = "bernoulli",
        codebook: str | Mapping[str, object] = "ema",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        self.num_cells = checked_size("num_cells", num_cells)
        self.num_codes = integer("num_codes", num_codes, least=2)
        self.num_levels = checked_size("num_levels", num_levels)
        with seeded(seed):
            books = [made_codebook(num_codes**level, code_dim, codebook) for level in range(1, num_levels + 1)]
            self.remember(codebook=books[0].config)
            encoder, decoder = self.networks(network, self.num_cells * code_dim, observed)
            self.model = ResidualProgram(books, self.num_cells, decoder, observed, shape)
            self.guide = ResidualGuide(encoder, self.model, shape, observed.allows_missing)

    @torch.no_grad()
    def codes(self, x: Array) -> Tensor:
        """The indices k_l(x) of every level for data [N, *event_shape]: [N, L, M], integers."""
        return torch.stack([q.indices for q in self.guide.encode(self.own_data(x))], 1)

    @torch.no_grad()
    def reconstruct(self, x: Array, num_levels: int | None = None) -> Tensor:
        """The mean of p(x|z) at the code words of the first ``num_levels``, or of all: [N, *event_shape]."""
        number = self.num_levels if num_levels is None else integer("num_levels", num_levels)
        words = [q.mean for q in self.guide.encode(self.own_data(x))[:number]]
        return self.model.decode(torch.stack(words).sum(0).flatten(-2)).mean
