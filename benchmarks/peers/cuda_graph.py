"""A CUDA graph written by hand: whole training steps recorded once and replayed."""

from __future__ import annotations

import torch

from . import torch_vae
from .contender import Run, Task, UnavailableError, timed

WARM_UP_STEPS = 3


class Graph:
    """One step a replay: gather the batch, loss, gradient, fused Adam, sum of losses."""

    most_steps = 1

    def __init__(self, task: Task) -> None:
        if task.device != "cuda":
            raise UnavailableError("a CUDA graph needs a CUDA device")
        workload = task.workload
        # A divisor of the epoch's steps, so that replays fill it.
        self.unrolled = max(n for n in range(1, self.most_steps + 1) if workload.steps % n == 0)
        self.net, self.x = torch_vae.build(task), task.x.to(task.device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=workload.lr, fused=True, capturable=True)
        self.indices = torch.zeros(self.unrolled, workload.batch, dtype=torch.long, device=task.device)
        self.total = torch.zeros((), device=task.device)
        self.workload = workload
        self.graph = self._record()

    def run(self, epochs: int) -> Run:
        """Train that many epochs more."""
        return timed(self._epoch, epochs)

    def _record(self) -> torch.cuda.CUDAGraph:
        start = {name: weight.clone() for name, weight in self.net.state_dict().items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                self._steps()
        torch.cuda.current_stream().wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._steps()
        self._forget(start)
        return graph

    def _forget(self, start: dict[str, torch.Tensor]) -> None:
        """What warming up has trained."""
        with torch.no_grad():
            for name, weight in self.net.state_dict().items():
                weight.copy_(start[name])
            for state in self.optimizer.state.values():
                for moment in state.values():
                    moment.zero_()

    def _steps(self) -> None:
        for indices in self.indices:
            loss = self.net.loss(self.x.index_select(0, indices))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.total.add_(loss.detach())

    def _epoch(self) -> float:
        self.total.zero_()
        order = torch.randperm(len(self.x), device=self.x.device)
        for indices in order.view(-1, self.unrolled, self.workload.batch):
            self.indices.copy_(indices)
            self.graph.replay()
        return self.total.item() / self.workload.steps


class UnrolledGraph(Graph):
    """Up to twelve steps a replay."""

    most_steps = 12
