"""Stock Pyro SVI: the VAE of its tutorial with its loop, and the same loop made as fast as Pyro's switches allow.

The example takes batches from a DataLoader and leaves Pyro's validation on. Here the loader has the images in one
tensor and no worker process, which is faster than the example's own. The tutorial's objective is Trace_ELBO, whose
KL is a Monte Carlo estimate; TraceMeanField_ELBO has it in closed form as the others have.
"""

from __future__ import annotations

import itertools

import pyro
import torch
from pyro import distributions as dist
from pyro.infer import SVI, RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from . import torch_vae
from .contender import Run, Task, timed
from .workloads import Workload

# A second module of one name would be given the first one's parameters out of Pyro's store.
_instances = itertools.count()


class Pair:
    """The two programs."""

    def __init__(self, net: torch_vae.TorchVAE, workload: Workload) -> None:
        self.net, self.workload = net, workload
        self.inference_part = nn.ModuleList([net.encoder, net.loc_head, net.scale_head])
        self.names = [f"{part}.{next(_instances)}" for part in ("decoder", "encoder")]

    def model(self, x: Tensor) -> None:
        """p(z) p(x|z)."""
        pyro.module(self.names[0], self.net.decoder)
        with pyro.plate("data", len(x)):
            zeros = x.new_zeros(len(x), self.workload.latent_dim)
            z = pyro.sample("z", dist.Normal(zeros, torch.ones_like(zeros)).to_event(1))
            logits = self.net.decoder(z.flatten(0, -2)).reshape(*z.shape[:-1], *self.workload.event_shape)
            p = dist.Bernoulli(logits=logits, validate_args=False).to_event(len(self.workload.event_shape))
            pyro.sample("x", p, obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z|x)."""
        pyro.module(self.names[1], self.inference_part)
        with pyro.plate("data", len(x)):
            mean, log_variance = self.net.encode(x)
            pyro.sample("z", dist.Normal(mean, torch.exp(0.5 * log_variance)).to_event(1))


class InMemory:
    """Batches by index from one tensor, validation off."""

    validation = False

    def __init__(self, task: Task) -> None:
        self.task, self.x = task, task.x.to(task.device)
        pair = Pair(torch_vae.build(task), task.workload)
        self.svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": task.workload.lr}), self.objective())

    def objective(self) -> pyro.infer.ELBO:
        """The loss with the closed-form KL, or the importance-weighted one."""
        if self.task.workload.particles == 1:
            return TraceMeanField_ELBO()
        return RenyiELBO(0, self.task.workload.particles, max_plate_nesting=1, vectorize_particles=True)

    def run(self, epochs: int) -> Run:
        """Train that many epochs more."""
        if self.task.threads is not None:
            torch.set_num_threads(self.task.threads)
        with pyro.validation_enabled(self.validation):
            return timed(self._epoch, epochs)

    def _epoch(self) -> float:
        return sum(self.svi.step(x) for x in self.batches()) / len(self.x)

    def batches(self):
        """Of one epoch."""
        order = torch.randperm(len(self.x), device=self.x.device)
        return (self.x[indices] for indices in order.split(self.task.workload.batch))


class WithLoader(InMemory):
    """Batches from a DataLoader, validation on, as in Pyro's example."""

    validation = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        pinned = task.device == "cuda"
        dataset = TensorDataset(task.x)
        self.loader = DataLoader(dataset, batch_size=task.workload.batch, shuffle=True, pin_memory=pinned)

    def batches(self):
        """Of one epoch."""
        return (x.to(self.x.device, non_blocking=True) for (x,) in self.loader)


class Example(WithLoader):
    """The same with the example's Trace_ELBO."""

    def objective(self) -> pyro.infer.ELBO:
        """The loss with the KL by Monte Carlo."""
        return super().objective() if self.task.workload.particles > 1 else Trace_ELBO()
