"""``pyro.param`` sites that first appear after some steps: trained from then on, as stock SVI trains them."""

from __future__ import annotations

import pyro
import torch
from pyro.poutine.messenger import Messenger

from ppl_vae.inference.pair.trace_site import TraceSite
from ppl_vae.inference.training.weights import Weights


class LateParameters(Messenger):
    """While programs run, every parameter that shows itself for the first time joins the others.

    Args:
        weights: of the run; they get what is new.
        parameters: every trainable leaf, of which the steps take gradients.
        optimizer: over them; what is new gets a group of its own, with the optimiser's own settings.
        rates: the learning rates of its groups before a schedule.
    """

    def __init__(
        self, weights: Weights, parameters: list[torch.Tensor], optimizer: torch.optim.Optimizer, rates: list[float]
    ) -> None:
        super().__init__()
        self.weights, self.parameters, self.optimizer, self.rates = weights, parameters, optimizer, rates
        self._known = {id(leaf) for leaf in parameters}

    def _pyro_post_param(self, msg: TraceSite) -> None:
        leaf = pyro.get_param_store()._params.get(msg["name"])
        if leaf is None or id(leaf) in self._known:
            return
        self._known.add(id(leaf))
        if leaf.requires_grad:
            self.weights.store[msg["name"]] = leaf
            self.weights.late.add(msg["name"])
            self.parameters.append(leaf)
            self.optimizer.add_param_group({"params": [leaf]})
            self.rates.append(self.optimizer.param_groups[-1]["lr"])
