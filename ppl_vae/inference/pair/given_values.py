"""Running programs at given latent values instead of draws."""

from __future__ import annotations

from collections.abc import Mapping

from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.inference.pair.draws import carried
from ppl_vae.inference.pair.trace import HANDLED
from ppl_vae.inference.pair.trace_site import TraceSite


class Given(Messenger):
    """Set every latent site to a given value [K, N, *event] ([N, *event] where K is 1)."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = {
            name: carried(value, lambda draw: draw[0]) if len(value) == 1 else value
            for name, value in values.items()
        }

    def _pyro_sample(self, msg: TraceSite) -> None:
        if msg["is_observed"] or msg["name"] not in self.values:
            return
        msg["value"] = self.values[msg["name"]]
        msg["infer"] = {**(msg["infer"] or {}), HANDLED: True}
        msg["done"] = True
