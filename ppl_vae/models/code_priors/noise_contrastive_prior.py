r"""The noise-contrastive prior (Aneja, Schwing, Kautz & Vahdat 2021): N(0, I), reweighted where no code falls.

    p(z) = N(z; 0, I) r(z) / Z,      Z = E_N(0, I) r(z),      log r(z) = B tanh(f(z) / B)

f is trained to tell codes of the data from draws of N(0, I); the best f is log q(z) / N(z; 0, I), q the aggregate
posterior, with which p is q and Z is one. A holey N(0, I) loses its holes. The ratio is bounded by exp(B), which
the paper's is not, so that draws by rejection are exact; the paper resamples. Z is taken over scrambled Sobol
points, eight times anew, and the eight tell its error: ``log_normaliser``. The density is as exact as that.

Aneja et al. (2021), eq. 3 and 6: https://arxiv.org/abs/2010.02917
"""

from __future__ import annotations

import math

import torch
from pyro import distributions as dist
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppl_vae.checks import positive, whole
from ppl_vae.models.code_priors.of_functions import OfFunctions
from ppl_vae.models.configuration import Configured, remembers
from ppl_vae.precision import require_single

BLOCKS, POINTS = 8, 2048
MOST_PROPOSALS = 2**16
# The last layer starts small, so that the prior starts near N(0, I).
START = 0.1


class NoiseContrastivePrior(Configured):
    """The prior N(0, I) times a learned ratio.

    Args:
        hidden: the width of the two hidden layers of f.
        bound: B; a draw takes about exp(B) proposals.
    """

    name = "noise-contrastive"
    points: Tensor

    @remembers
    def __init__(self, hidden: int = 64, bound: float = 5.0) -> None:
        super().__init__()
        self.hidden, self.bound = whole("hidden", hidden), positive("bound", bound)

    def build(self, latent_dim: int) -> None:
        """Make the network, and the points that Z is taken over."""
        # No last bias: a constant factor of r is one of Z too.
        last = nn.Linear(self.hidden, 1, bias=False)
        self.network = nn.Sequential(
            nn.Linear(latent_dim, self.hidden), nn.SiLU(), nn.Linear(self.hidden, self.hidden), nn.SiLU(), last
        )
        with torch.no_grad():
            last.weight.mul_(START)
        engines = (torch.quasirandom.SobolEngine(latent_dim, scramble=True, seed=block) for block in range(BLOCKS))
        uniform = torch.stack([engine.draw(POINTS, dtype=torch.float64) for engine in engines])
        least = 0.5 / POINTS**2
        points = torch.special.ndtri(uniform.clamp(least, 1 - least)).to(torch.get_default_dtype())
        self.register_buffer("points", points, persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """The prior p(z): batch shape (), event shape [latent_dim]."""
        require_single(self.name, self.points)
        return OfFunctions(self.log_density, self.draw, self.points.shape[-1])

    def log_ratio(self, z: Tensor) -> Tensor:
        """The log ratio log r at codes [*batch, L]: [*batch], nats."""
        found: Tensor = self.network(z).squeeze(-1)
        return self.bound * torch.tanh(found / self.bound)

    def log_normaliser(self) -> tuple[Tensor, Tensor]:
        """The log of Z and the standard error of that: two scalars, nats."""
        logs = self.log_ratio(self.points).logsumexp(1) - math.log(POINTS)
        total = logs.logsumexp(0) - math.log(BLOCKS)
        return total, (logs - total).detach().exp().std() / math.sqrt(BLOCKS)

    def log_density(self, z: Tensor) -> Tensor:
        """The log density of codes [*batch, L]: [*batch], nats."""
        base = dist.Normal(torch.zeros_like(z), 1.0).log_prob(z).sum(-1)
        return base + self.log_ratio(z) - self.log_normaliser()[0]

    def code_loss(self, z: Tensor) -> Tensor:
        """The cross entropy of telling codes [*batch, L] from as many draws of N(0, I): a scalar, nats.

        It is 2 log 2 where the two are alike.
        """
        return (softplus(-self.log_ratio(z)) + softplus(self.log_ratio(torch.randn_like(z)))).mean()

    def draw(self, shape: torch.Size) -> Tensor:
        """Draw codes [*shape, L] by rejection."""
        number, found = math.prod(shape), [self.points[0, :0]]
        while (missing := number - sum(map(len, found))) > 0:
            proposals = min(MOST_PROPOSALS, 1024 + missing * math.ceil(math.exp(self.bound)))
            z = torch.randn(proposals, self.points.shape[-1], dtype=self.points.dtype, device=self.points.device)
            taken = torch.rand(len(z), dtype=z.dtype, device=z.device).log() < self.log_ratio(z) - self.bound
            found.append(z[taken][:missing])
        return torch.cat(found).reshape(*shape, -1)
