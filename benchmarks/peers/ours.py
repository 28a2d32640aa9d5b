"""``pv.fit`` as a user calls it, eagerly and with the step captured."""

from __future__ import annotations

import time

import torch

import ppl_vae as pv
from ppl_vae import inference as inf

from .contender import Run, Task, UnavailableError

# Where the weights of ``TorchVAE`` stand in a ``pv.VAE``.
PLACES = {
    "encoder": "guide.encoder",
    "loc_head": "guide.posterior.loc_head",
    "scale_head": "guide.posterior.scale_head",
    "decoder": "model.decoder",
}


class Fit:
    """One VAE, trained further by every call of ``pv.fit``.

    The seconds are the history's, an epoch each. What a call does outside its epochs is in ``outside``.
    """

    compile = False

    def __init__(self, task: Task) -> None:
        self.task, workload = task, task.workload
        self.vae = pv.VAE(workload.event_shape, workload.latent_dim, workload.network, "bernoulli-relaxed")
        places = {name: name.partition(".") for name in task.weights}
        state = {f"{PLACES[part]}.{rest}": task.weights[name] for name, (part, _, rest) in places.items()}
        self.vae.load_state_dict(state)
        name = "analytic-kl" if workload.particles == 1 else "iwae"
        self.elbo = inf.get_elbo(name, num_particles=workload.particles)
        self.x = task.x.to(task.device)
        self.threads = task.threads
        self.outside: list[float] = []

    def run(self, epochs: int) -> Run:
        """Train that many epochs more."""
        if self.task.threads is not None:
            # What fit's own rule may take for a large step.
            torch.set_num_threads(self.task.threads)
        began = time.perf_counter()
        result = pv.fit(
            self.vae,
            self.x,
            elbo=self.elbo,
            epochs=epochs,
            batch_size=self.task.workload.batch,
            lr=self.task.workload.lr,
            device=self.task.device,
            compile=self.compile,
            progress=False,
        )
        mode, why = result.manifest["compile"], result.manifest.get("compile_reason")
        if self.compile and mode != "compiled":
            raise UnavailableError(f"pv.fit(compile=True): the steps are {mode}; {why}")
        seconds = result.history["seconds"].tolist()
        self.outside.append(time.perf_counter() - began - sum(seconds))
        self.threads = result.manifest["num_threads"]
        return Run(seconds, result.history["loss"].tolist())


class CapturedFit(Fit):
    """The same with compile=True."""

    compile = True
