r"""A small diffusion prior of codes, with its exact density by the probability flow.

    z_a = cos(a) z + sin(a) e,     e ~ N(0, I),     a from 0 (a code) to pi/2 (noise)
    training    E |v(z_a, a) - (cos(a) e - sin(a) z)|^2         (v-prediction, Salimans & Ho 2022, appendix D)
    p(z)        dz_a / da = v(z_a, a),   log p(z) = log N(z_pi/2; 0, I) + int_0^pi/2 div v da
                                                                (Song et al. 2021, eq. 39)

The best v is a mean given z_a, and with it the flow carries the codes' law into N(0, I). Whatever v is, the flow
defines a density, exact up to the steps of Runge-Kutta: a network of two layers of tanh has its divergence in
closed form, and ``num_steps`` is how many. A latent diffusion as in Rombach et al. (2022), for vectors.

Song et al. (2021): https://arxiv.org/abs/2011.13456
Salimans & Ho (2022): https://arxiv.org/abs/2202.00512
Rombach et al. (2022): https://arxiv.org/abs/2112.10752
"""

from __future__ import annotations

import math

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.checks import whole
from ppl_vae.models.code_priors.of_functions import OfFunctions
from ppl_vae.models.configuration import Configured, remembers
from ppl_vae.precision import require_single

END = math.pi / 2
# The last layer starts small, so that the prior starts near N(0, I).
START = 0.1


class DiffusionPrior(Configured):
    """The prior p(z) of a probability flow, learned by denoising.

    Args:
        hidden: the width of the two hidden layers of v.
        num_steps: Runge-Kutta steps of a density or a draw; each costs four evaluations of v.
    """

    name = "diffusion"

    @remembers
    def __init__(self, hidden: int = 64, num_steps: int = 12) -> None:
        super().__init__()
        self.hidden, self.num_steps = whole("hidden", hidden), whole("num_steps", num_steps)

    def build(self, latent_dim: int) -> None:
        """Make the network."""
        self.velocity = Velocity(latent_dim, self.hidden)

    def forward(self) -> dist.TorchDistribution:
        """The prior p(z): batch shape (), event shape [latent_dim]."""
        require_single(self.name, self.velocity.last.weight)
        return OfFunctions(self.log_density, self.draw, self.velocity.last.out_features)

    def log_density(self, z: Tensor) -> Tensor:
        """The log density of codes [*batch, L]: [*batch], nats."""
        noise, gained = self.carried(z, 0.0, END)
        return dist.Normal(torch.zeros_like(z), 1.0).log_prob(noise).sum(-1) + gained

    def draw(self, shape: torch.Size) -> Tensor:
        """Draw codes [*shape, L] by the flow backwards."""
        weight = self.velocity.last.weight
        noise = torch.randn(*shape, len(weight), dtype=weight.dtype, device=weight.device)
        return self.carried(noise, END, 0.0)[0]

    def code_loss(self, z: Tensor) -> Tensor:
        """The squared error of v at codes [*batch, L], noise and angles drawn anew: a scalar."""
        angle = END * torch.rand_like(z[..., :1])
        noise = torch.randn_like(z)
        wanted = angle.cos() * noise - angle.sin() * z
        found = self.velocity(angle.cos() * z + angle.sin() * noise, angle)[0]
        return (found - wanted).square().sum(-1).mean()

    def carried(self, z: Tensor, start: float, end: float) -> tuple[Tensor, Tensor]:
        """Codes [*batch, L] carried from one angle to another, and the integral of the divergence [*batch]."""
        step = (end - start) / self.num_steps
        gained = z.new_zeros(z.shape[:-1])
        for number in range(self.num_steps):
            change, divergence = self._runge_kutta(z, start + number * step, step)
            z, gained = z + change, gained + divergence
        return z, gained

    def _runge_kutta(self, z: Tensor, start: float, step: float) -> tuple[Tensor, Tensor]:
        """The change of z and of the integral in one step of the classical method."""
        total, divergence = torch.zeros_like(z), z.new_zeros(z.shape[:-1])
        slope = total
        for share, weight in ((0.0, 1 / 6), (0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6)):
            angle = torch.full_like(z[..., :1], start + share * step)
            slope, own = self.velocity(z + share * step * slope, angle)
            total, divergence = total + weight * step * slope, divergence + weight * step * own
        return total, divergence


class Velocity(nn.Module):
    """The network v(z, a), with its divergence over z.

    Args:
        latent_dim: L.
        hidden: units of each of the two layers of tanh.
    """

    def __init__(self, latent_dim: int, hidden: int) -> None:
        super().__init__()
        self.first, self.time = nn.Linear(latent_dim, hidden), nn.Linear(4, hidden, bias=False)
        self.second, self.last = nn.Linear(hidden, hidden), nn.Linear(hidden, latent_dim)
        with torch.no_grad():
            self.last.weight.mul_(START)
            self.last.bias.mul_(START)

    def forward(self, z: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity [*batch, L] and its divergence [*batch] at z [*batch, L] and angles [*batch, 1]."""
        waves = torch.cat([angle.cos(), angle.sin(), (2 * angle).cos(), (2 * angle).sin()], -1)
        one = torch.tanh(self.first(z) + self.time(waves))
        two = torch.tanh(self.second(one))
        # sum_i dv_i / dz_i, with the derivative 1 - h^2 of tanh in both layers.
        ways = self.second.weight * (self.first.weight @ self.last.weight).mT
        divergence = ((1 - two.square()) @ ways * (1 - one.square())).sum(-1)
        return self.last(two), divergence
