r"""A codebook e_1, ..., e_K of a vector-quantised model: nearest codes, and codes that follow the encoder.

    k(z) = argmin_i |z - e_i|^2                                    (van den Oord, Vinyals & Kavukcuoglu 2017)

"ema": the codes are no parameters. After every training step, with n_i encoder outputs of the batch nearest to
code i and s_i their sum (the same paper, appendix; an online k-means),

    N_i <- decay N_i + (1 - decay) n_i,   m_i <- decay m_i + (1 - decay) s_i,   e_i = m_i / N_i

N and m start at zero, so that e_i is exactly the weighted mean of all that was ever assigned to it.

"gradient": the codes are parameters, pulled to the encoder's outputs by the term |sg(z) - e_k|^2 of the objective.

In both a code whose share of the use has fallen below ``revive_below / K`` is dead: no encoder output is near
enough to move it. It is put on an encoder output of the batch, with the count of an average code (Dhariwal et al.
2020, "random restarts"). In the first step this places the unused codes on data.

van den Oord, Vinyals & Kavukcuoglu (2017): https://arxiv.org/abs/1711.00937
Dhariwal et al. (2020): https://arxiv.org/abs/2005.00341
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppl_vae.checks import integer, real
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.models.configuration import Config, Configured, remembers
from ppl_vae.precision import widened

LEARNING = ("ema", "gradient")


class Codebook(Configured):
    """A codebook of K codes in R^D.

    Args:
        num_codes: K, at least 2.
        code_dim: D.
        learning: "ema" or "gradient".
        decay: of the running counts and sums, in [0, 1).
        revive_below: a code is dead below this share of the average code's use; 0 revives none.

    Raises:
        ModelError: a size or a number is out of its range, or the way of learning is unknown.
    """

    code: Tensor
    count: Tensor
    total: Tensor

    @remembers
    def __init__(
        self,
        num_codes: int,
        code_dim: int,
        learning: str = "ema",
        decay: float = 0.99,
        revive_below: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = integer("num_codes", num_codes, least=2), integer("code_dim", code_dim)
        if learning not in LEARNING:
            raise ModelError(unknown_name("learning", learning, LEARNING))
        self.learning = learning
        self.decay = real("decay", decay, least=0)
        self.revive_below = real("revive_below", revive_below, least=0)
        if not self.decay < 1:
            raise ModelError(f"decay must be below 1, got {decay!r}")
        if not self.revive_below < 1:
            raise ModelError(f"revive_below must be below 1 (the use of an average code), got {revive_below!r}")
        code = torch.randn(sizes)
        if learning == "gradient":
            self.code = nn.Parameter(code)
        else:
            self.register_buffer("code", code)
            self.register_buffer("total", torch.zeros(sizes))
        self.register_buffer("count", torch.zeros(sizes[0]))

    def nearest(self, z: Tensor) -> Tensor:
        """The nearest code of vectors [*batch, D], the first of those equally near: [*batch], integers."""
        return nearest(z.detach(), self.code.detach())

    def forward(self, k: Tensor) -> Tensor:
        """The codes e_k of indices [*batch]: [*batch, D]."""
        return nn.functional.embedding(k, self.code)

    @torch.no_grad()
    def follow(self, z: Tensor, k: Tensor) -> None:
        """Count the use, move the codes to what they stand for, and revive the dead; nothing in evaluation mode.

        Args:
            z: encoder outputs of a training batch, [*batch, D].
            k: their nearest codes, [*batch].
        """
        if not self.training:
            return
        z = z.detach().flatten(0, -2).to(self.code)
        assigned = one_hot(k.flatten(), len(self.code)).to(z)
        self.count.lerp_(assigned.sum(0), 1 - self.decay)
        if self.learning == "ema":
            self.total.lerp_(assigned.mT @ z, 1 - self.decay)
            self._place(self.count > torch.finfo(z.dtype).tiny, self.total / self.count.unsqueeze(-1))
        if self.revive_below > 0:
            self._revive(z)

    def _revive(self, z: Tensor) -> None:
        """Put every dead code on one of the rows of z [R, D], no two on the same where there are enough."""
        average = self.count.mean()
        dead = self.count < self.revive_below * average
        order = torch.rand(max(len(z), len(self.code)), dtype=z.dtype, device=z.device).argsort()
        self._place(dead, z[order[: len(self.code)] % len(z)])
        self.count.copy_(torch.where(dead, average, self.count))
        if self.learning == "ema":
            total = self.count.unsqueeze(-1) * self.code
            self.total.copy_(torch.where(dead.unsqueeze(-1), total, self.total))

    def _place(self, which: Tensor, where: Tensor) -> None:
        self.code.copy_(torch.where(which.unsqueeze(-1), where, self.code))

    @property
    def perplexity(self) -> float:
        """The perplexity of the running use in training: from 1 to K codes; NaN before the first step."""
        return perplexity(self.count.double()).item()

    @property
    def config(self) -> Config:
        """The options besides the sizes."""
        return {name: value for name, value in self.arguments.items() if name not in ("num_codes", "code_dim")}


def nearest(z: Tensor, codes: Tensor) -> Tensor:
    """The row of ``codes`` [K, D] nearest to each vector [*batch, D], the first of those equally near: [*batch]."""
    # Distances from differences: through products a code's distance to itself is not exactly the smallest.
    mode = "donot_use_mm_for_euclid_dist"
    flat = torch.cdist(widened(z).flatten(0, -2), widened(codes), compute_mode=mode).argmin(-1)
    return flat.unflatten(0, z.shape[:-1]) if z.dim() > 2 else flat


def one_hot(k: Tensor, num_codes: int) -> Tensor:
    """Turn k [*batch] into one-hot vectors [*batch, K] without reading values, which a captured step cannot do."""
    return k.unsqueeze(-1) == torch.arange(num_codes, device=k.device)


def perplexity(use: Tensor) -> Tensor:
    """The exponential of the entropy of the codes' use [*batch, K], counts or shares: [*batch], from 1 to K.

    >>> perplexity(torch.tensor([5.0, 5.0, 0.0, 0.0]))
    tensor(2.)
    """
    share = use / use.sum(-1, keepdim=True)
    return torch.special.entr(share).sum(-1).exp()


def checked_indices(k: Tensor, num_cells: int, num_codes: int) -> Tensor:
    """Check indices k [*batch, M] of codes.

    Raises:
        ModelError: another shape, no integers, or an index outside 0, ..., K - 1.
    """
    if k.is_floating_point() or k.dim() < 2 or k.shape[-1] != num_cells:
        raise ModelError(
            f"site 'z': expected integers of shape [N, {num_cells}], got {k.dtype} of shape {list(k.shape)}"
        )
    if k.numel() and not 0 <= int(k.min()) <= int(k.max()) < num_codes:
        raise ModelError(f"site 'z': expected codes 0, ..., {num_codes - 1}, got {int(k.min())} to {int(k.max())}")
    return k.long()
