"""A training loop written by hand in PyTorch: data in memory, fused Adam, the loss read once an epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from . import torch_vae
from .contender import Run, Task, timed


class Eager:
    """As it stands."""

    def __init__(self, task: Task) -> None:
        self.batch, self.threads = task.workload.batch, task.threads
        self.net = torch_vae.build(task)
        self.x = task.x.to(task.device)
        self.loss = self.net.loss
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=task.workload.lr, fused=True)

    def run(self, epochs: int) -> Run:
        """Train that many epochs more."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return timed(self._epoch, epochs)

    def _epoch(self) -> float:
        order = torch.randperm(len(self.x), device=self.x.device)
        losses = [self._step(self.x[indices]) for indices in order.split(self.batch)]
        return torch.stack(losses).mean().item()

    def _step(self, x: Tensor) -> Tensor:
        loss = self.loss(x)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class Compiled(Eager):
    """The loss and its gradient through torch.compile."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.loss = torch.compile(self.net.loss, dynamic=False, fullgraph=True)
