"""The facts known of a table's columns before training, and how an encoder of ours sees them.

An encoder sees v = x, log(1 + x) or log x of a column, by its kind, as (v - loc) / scale with the mean and the
standard deviation of the training data's observed values, or what its kind has in their place; an indicator for
each code of a name; and 0 in the place of a missing cell, with an indicator which are missing behind all values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ppl_vae.models.likelihoods.counts import moments

OfKind = tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor] | None]]


class ColumnScales(nn.Module):
    """Location and scale of every column, as buffers that are stored with the weights.

    Args:
        sights: of each column what an encoder sees of it, "x", "log1p", "log" or "codes".
        widths: into how many numbers it turns, more than one of codes.
    """

    loc: Tensor
    scale: Tensor
    num_seen: Tensor

    def __init__(self, sights: Sequence[str], widths: Sequence[int]) -> None:
        super().__init__()
        self.sights, self.widths = tuple(sights), tuple(widths)
        self.register_buffer("loc", torch.zeros(len(sights)))
        self.register_buffer("scale", torch.ones(len(sights)))
        # How many data they were taken from; 0 says that nobody has looked at any.
        self.register_buffer("num_seen", torch.tensor(0.0))

    @torch.no_grad()
    def look_at(self, x: Tensor, standardize: bool, of_kinds: Sequence[OfKind] = ()) -> None:
        """Take location and scale from the observed values of x [N, D], if they are asked for.

        Args:
            x: the data.
            standardize: whether they are.
            of_kinds: the columns of a kind, and what it takes for mean and standard deviation.
        """
        self.num_seen.fill_(len(x))
        if not standardize:
            return
        seen = self.raw(x)
        mean, variance = moments(seen)
        spread = variance.sqrt()
        for index, own in of_kinds:
            loc, scale = (each.to(mean) for each in own(x.index_select(-1, index)) or (mean[index], spread[index]))
            usable = (scale > 0) & scale.isfinite()
            mean[index] = torch.where(usable, loc, mean[index])
            spread[index] = torch.where(usable, scale, spread[index])
        # A column that never changes keeps its unit and is taken from its value: its spread is that of rounding.
        # One that is never seen is left as it is; so are codes.
        always, is_constant = _constants(seen)
        numbers = spread.new_tensor([s != "codes" for s in self.sights]).bool()
        known = (spread > 0) & spread.isfinite() & numbers & ~is_constant
        self.loc.copy_(torch.where(known, mean, torch.where(is_constant & numbers, always, 0.0)))
        self.scale.copy_(torch.where(known, spread, 1.0))

    def raw(self, x: Tensor) -> Tensor:
        """The columns v of x [N, D], not yet standardised; NaN where a cell is missing."""
        columns = x.unbind(-1)
        return torch.stack([_SIGHTS[s](v) for s, v in zip(self.sights, columns, strict=True)], -1)

    def standard(self, x: Tensor) -> Tensor:
        """The columns of x [N, D] as (v - loc) / scale; NaN where a cell is missing."""
        return (self.raw(x) - self.loc) / self.scale

    def seen(self, x: Tensor) -> Tensor:
        """The input of an encoder: x [N, D] with NaN where a cell is missing: [N, width]."""
        missing = x.isnan()
        values = torch.where(missing, 0.0, self.standard(x))
        if set(self.widths) != {1}:
            values = torch.cat([self._spread(values, x, i) for i in range(x.shape[-1])], -1)
        return torch.cat([values, missing.to(values.dtype)], -1)

    def _spread(self, values: Tensor, x: Tensor, column: int) -> Tensor:
        if self.widths[column] == 1:
            return values[..., column : column + 1]
        codes = torch.arange(self.widths[column], dtype=x.dtype, device=x.device)
        return (x[..., column : column + 1] == codes).to(values.dtype)

    @property
    def width(self) -> int:
        """How many numbers an encoder sees."""
        return sum(self.widths) + len(self.widths)


def _constants(v: Tensor) -> tuple[Tensor, Tensor]:
    """The least observed value of every column of v [N, D], and whether all others are the same."""
    missing = v.isnan()
    least = torch.where(missing, torch.inf, v).amin(0).double()
    return least, least == torch.where(missing, -torch.inf, v).amax(0)


class ColumnsEncoder(nn.Module):
    """An encoder of ours behind the view of a table's columns.

    Args:
        scales: those of the likelihood, whose buffers stay its own.
        encoder: [N, width] -> features [N, H].
    """

    takes_missing = True

    def __init__(self, scales: ColumnScales, encoder: nn.Module) -> None:
        super().__init__()
        # In a tuple, so that nn.Module does not take the scales for a part of the guide.
        self._scales = (scales,)
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        """The features [N, H] of x [N, D], in which NaN marks a missing cell."""
        (scales,) = self._scales
        features: Tensor = self.encoder(scales.seen(x))
        return features


def _same(v: Tensor) -> Tensor:
    return v


# Outside of the support, as in a learned pseudo-input, a value is taken as its nearest inside.
_SIGHTS = {
    "x": _same,
    "codes": _same,
    "log1p": lambda v: v.clamp(min=0).log1p(),
    "log": lambda v: v.clamp(min=torch.finfo(torch.float32).tiny).log(),
}
