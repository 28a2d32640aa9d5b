"""The VAE written out in PyTorch, as its users write it: the network of all torch peers, and the weights' names.

    q(z|x) = N(mu(x), diag exp(h(x))),  p(z) = N(0, I),  loss = BCE(logits(z), x) + KL(q || p)

(Kingma & Welling 2014), or with K draws the importance-weighted bound (Burda, Grosse & Salakhutdinov 2016). Losses
are means over the batch, nats per image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ppl_vae.networks import architecture

from .contender import Task
from .workloads import Workload


class TorchVAE(nn.Module):
    """Encoder, two heads, decoder."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.particles = workload.particles
        networks = architecture(workload.network)
        self.encoder = networks.encoder(workload.event_shape)
        with torch.no_grad():
            features = self.encoder(torch.zeros(1, *workload.event_shape)).shape[-1]
        self.loc_head = nn.Linear(features, workload.latent_dim)
        self.scale_head = nn.Linear(features, workload.latent_dim)
        self.decoder = networks.decoder(workload.latent_dim, workload.event_shape, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x): [B, L] each."""
        features = self.encoder(x)
        return self.loc_head(features), self.scale_head(features)

    def loss(self, x: Tensor) -> Tensor:
        """Minus the bound on [B, *event_shape]: a scalar."""
        return self._negative_elbo(x) if self.particles == 1 else self._negative_importance_bound(x)

    def _negative_elbo(self, x: Tensor) -> Tensor:
        mean, log_variance = self.encode(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        logits = self.decoder(z).reshape(x.shape)
        reconstruction = binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum()
        return (reconstruction + kl) / len(x)

    def _negative_importance_bound(self, x: Tensor) -> Tensor:
        mean, log_variance = self.encode(x)
        noise = torch.randn(self.particles, *mean.shape, device=x.device)
        z = mean + torch.exp(0.5 * log_variance) * noise
        logits = self.decoder(z.flatten(0, 1)).reshape(self.particles, len(x), -1)
        images = x.flatten(1).expand_as(logits)
        log_likelihood = -binary_cross_entropy_with_logits(logits, images, reduction="none").sum(-1)
        # The constants log(2 pi) / 2 of p(z) and q(z|x) cancel.
        log_ratio = 0.5 * (noise.square() + log_variance - z.square()).sum(-1)
        return math.log(self.particles) - (log_likelihood + log_ratio).logsumexp(0).mean()


def initial_weights(workload: Workload, seed: int = 0) -> dict[str, Tensor]:
    """Where every contender starts."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {name: weight.clone() for name, weight in TorchVAE(workload).state_dict().items()}


def build(task: Task) -> TorchVAE:
    """The network with the task's weights on its device."""
    net = TorchVAE(task.workload)
    net.load_state_dict(dict(task.weights))
    return net.to(task.device)
