"""The progress of ``infer``: data per rung, and the time left."""

from __future__ import annotations

from types import TracebackType

import torch
from tqdm.auto import tqdm

from ppl_vae.diagnostics.infer.ladder import Climbed

NAMES = ("", "guide", "resampled", "refined", "chains", "flagged")


class RungProgress:
    """Counts data by rung.

    Args:
        total: data.
        enabled: False shows nothing.
    """

    def __init__(self, total: int, enabled: bool) -> None:
        self._bar = tqdm(total=total, unit="datum", disable=not enabled, dynamic_ncols=True)
        self._counts = torch.zeros(len(NAMES), dtype=torch.int64)

    def __enter__(self) -> RungProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def add(self, block: Climbed | None, size: int) -> None:
        """Count a block of ``size`` data, finished or out of time."""
        self._bar.update(size)
        if block is not None:
            self._counts += torch.bincount(block.rung, minlength=len(NAMES))
            said = [f"{name} {count}" for name, count in zip(NAMES, self._counts.tolist(), strict=True) if count]
            self._bar.set_postfix_str(", ".join(said))
