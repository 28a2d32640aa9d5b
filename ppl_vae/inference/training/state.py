"""The changing part of a run, as a tree that a checkpoint holds."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ppl_vae.files import JsonObject
from ppl_vae.inference.training.checkpoint import random_state, restore_random_state
from ppl_vae.inference.training.loader_state import Generator, loader_state, restore_loader_state
from ppl_vae.inference.training.selection import Selection
from ppl_vae.inference.training.steps import laid_out_as
from ppl_vae.inference.training.stored_run import require_state
from ppl_vae.inference.training.weights import Weights


@dataclass
class TrainingState:
    """The state at the end of an epoch.

    Attributes:
        weights: the trainable numbers, changed in place.
        optimizer: over them.
        selection: the best epoch so far.
        device: whose random stream is kept besides the CPU's.
        epoch: epochs done.
        step: optimiser steps done.
        rows: the history, a dict an epoch.
        generators: those of the user's own batches.
    """

    weights: Weights
    optimizer: torch.optim.Optimizer
    selection: Selection
    device: torch.device
    epoch: int = 0
    step: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    generators: dict[str, Generator] = field(default_factory=dict)

    def tree(self) -> JsonObject:
        """Everything that continuing needs, as a copy that further training leaves alone."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "rows": list(self.rows),
            "weights": self.weights.state(),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "selection": self.selection.state(),
            "random": random_state(self.device),
            "loader": loader_state(self.generators),
        }

    def restore(self, tree: JsonObject) -> None:
        """Go on from where ``tree`` was taken.

        Raises:
            ModelError: it is the state of another pair; nothing was changed.
            CheckpointError: it is damaged; nothing was changed.
        """
        require_state(tree, self.weights, self.optimizer, self.device)
        self.weights.restore(tree["weights"])
        self.optimizer.load_state_dict(tree["optimizer"])
        for leaf, kept in self.optimizer.state.items():
            for name, value in kept.items():
                if isinstance(value, Tensor) and value.shape == leaf.shape:
                    kept[name] = laid_out_as(leaf, value)
        restore_random_state(tree["random"], self.device)
        restore_loader_state(self.generators, tree.get("loader"))
        self.epoch, self.step, self.rows = tree["epoch"], tree["step"], list(tree["rows"])
        best = tree["selection"]
        if not best["epoch"] or self.rows[best["epoch"] - 1]["step"] >= self.selection.since:
            self.selection.score, self.selection.epoch, self.selection.weights = (
                best["score"],
                best["epoch"],
                best["weights"],
            )
