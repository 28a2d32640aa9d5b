r"""Priors over the indices of a grid of codes, flattened row by row: k = (k_1, ..., k_M), each one of K.

    uniform          p(k) = K^-M                                what a VQ-VAE is trained under
    autoregressive   p(k) = prod_m p(k_m | k_1, ..., k_m-1)     learned, and what it is sampled from

(van den Oord, Vinyals & Kavukcuoglu 2017 take a PixelCNN or a WaveNet.) Here the conditionals are a causal
transformer (Vaswani et al. 2017, with the normalisation before each block): cells attend to those before them.

Vaswani et al. (2017): https://arxiv.org/abs/1706.03762
"""

from __future__ import annotations

import math

import torch
from pyro import distributions as dist
from torch import Tensor, nn
from torch.distributions import constraints

from ppl_vae.checks import integer
from ppl_vae.errors import ModelError
from ppl_vae.models.configuration import Configured, Constructors, Spec, from_spec, remembers
from ppl_vae.precision import widened

# The spread of the last layer's weights at the start, where the prior is next to uniform.
NEAR_ZERO = 1e-3


class UniformCodes(Configured):
    """The uniform prior p(k) = K^-M."""

    name = "uniform"
    logits: Tensor

    def build(self, num_cells: int, num_codes: int) -> None:
        """Fix M and K."""
        self.register_buffer("logits", torch.zeros(num_cells, num_codes), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """The prior p(k): batch shape (), event shape [M]."""
        return dist.Categorical(logits=widened(self.logits)).to_event(1)


class AutoregressiveCodes(Configured):
    """The autoregressive prior p(k) = prod_m p(k_m | k_<m) of a causal transformer; it starts next to uniform.

    Args:
        width: of the features of a cell.
        depth: how many blocks of attention and a hidden layer of 2 ``width`` units.
        num_heads: of the attention; divides ``width``.

    Raises:
        ModelError: a number is out of its range.
    """

    name = "autoregressive"

    @remembers
    def __init__(self, width: int = 64, depth: int = 2, num_heads: int = 4) -> None:
        super().__init__()
        self.width, self.depth = integer("width", width), integer("depth", depth)
        self.num_heads = integer("num_heads", num_heads)
        if self.width % self.num_heads:
            raise ModelError(f"num_heads must divide width, got {num_heads} heads for a width of {width}")

    def build(self, num_cells: int, num_codes: int) -> None:
        """Make the network for M cells of K codes."""
        self.num_cells, self.num_codes = num_cells, num_codes
        self.embedding = nn.Embedding(num_codes, self.width)
        self.position = nn.Parameter(0.1 * torch.randn(num_cells, self.width))
        self.blocks = nn.ModuleList(_Block(self.width, self.num_heads) for _ in range(self.depth))
        self.norm = nn.LayerNorm(self.width)
        self.head = nn.Linear(self.width, num_codes)
        self.bias = nn.Parameter(torch.zeros(num_cells, num_codes))
        nn.init.normal_(self.head.weight, std=NEAR_ZERO)
        nn.init.zeros_(self.head.bias)

    def logits(self, before: Tensor) -> Tensor:
        """The unnormalised log masses of m + 1 cells [B, m + 1, K], given the codes of m < M cells [B, m]."""
        cells = before.shape[1] + 1
        h = self.position[:cells].expand(len(before), -1, -1)
        # The first cell has no code before it: its features are its position alone.
        h = h + nn.functional.pad(self.embedding(before), (0, 0, 1, 0))
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h)) + self.bias[:cells]

    def forward(self) -> dist.TorchDistribution:
        """The prior p(k): batch shape (), event shape [M]."""
        return CodeSequence(self)


class _Block(nn.Module):
    """Attention to this cell and those before it, then a hidden layer, each added to what came in."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.read, self.write = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.hidden = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, h: Tensor) -> Tensor:
        """Transform [B, m, width], whose shape stays."""
        h = h + self.attend(self.norms[0](h))
        return h + self.hidden(self.norms[1](h))

    def attend(self, h: Tensor) -> Tensor:
        """Attend by softmax(Q K^T / sqrt(d)) V to the cells up to this one: [B, m, width]."""
        query, key, value = self.read(h).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        score = query @ key.mT / math.sqrt(query.shape[-1])
        later = torch.ones(score.shape[-2:], dtype=torch.bool, device=h.device).triu(1)
        weight = score.masked_fill(later, -torch.inf).softmax(-1)
        return self.write((weight @ value).transpose(1, 2).flatten(-2))


class CodeSequence(dist.TorchDistribution):
    """The distribution p(k) = prod_m p(k_m | k_<m): batch shape [*batch], event shape [M], integers.

    Args:
        network: gives the conditionals.
        batch_shape: of independent grids.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's protocol)

    def __init__(self, network: AutoregressiveCodes, batch_shape: list[int] | tuple[int, ...] = ()) -> None:
        self.network = network
        super().__init__(torch.Size(batch_shape), torch.Size((network.num_cells,)), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """The support: M integers from 0 to K - 1."""
        return constraints.independent(constraints.integer_interval(0, self.network.num_codes - 1), 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log mass of k [*batch, M], nats."""
        k = value.reshape(-1, self.network.num_cells)
        log_mass = widened(self.network.logits(k[:, :-1])).log_softmax(-1).gather(-1, k.unsqueeze(-1)).squeeze(-1)
        log_prob = log_mass.sum(-1).reshape(value.shape[:-1])
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))

    @torch.no_grad()
    def sample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw cell by cell: [*sample_shape, *batch, M]."""
        shape = torch.Size(sample_shape) + self.batch_shape
        k = torch.empty(shape.numel(), 0, dtype=torch.long, device=self.network.bias.device)
        for _ in range(self.network.num_cells):
            last = self.network.logits(k)[:, -1].softmax(-1)
            k = torch.cat([k, torch.multinomial(last, 1)], dim=1)
        return k.reshape(*shape, -1)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> CodeSequence:
        """Repeat the distribution over a larger batch."""
        return CodeSequence(self.network, batch_shape)


CODE_PRIORS: Constructors = {kind.name: kind for kind in (UniformCodes, AutoregressiveCodes)}


def code_prior(spec: Spec) -> nn.Module:
    """The prior behind a name, a stored configuration, or itself.

    Raises:
        ModelError: the name is unknown.
    """
    return from_spec("prior", spec, CODE_PRIORS)
