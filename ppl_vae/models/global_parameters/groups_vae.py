r"""Groups of data with a shift of the code each (Bouchacourt, Tomioka & Nowozin 2018; Gelman & Hill 2006).

    model:  u_g ~ N(0, diag s^2),   z_n ~ N(u_g(n), I),   x_n ~ p(x | decoder(z_n))
    guide:  q(u_g) = N(m_g, diag v_g^2) of every group,   z_n ~ q(z_n | x_n, u_g(n))

The group y_n = g(n) of each datum is known, as patients know their hospital. What the data of a group share is in
its shift "u", a global site in a plate "groups"; what varies within it in "z". The spread s between groups is
learned, so that groups of few data are drawn to the others as far as the groups are alike (partial pooling). The
cited VAE has an encoder of whole groups; here every group has a posterior of its own, which takes batches of any
make-up. The bound is one on log p(x_1, ..., x_N | y).

Bouchacourt, Tomioka & Nowozin (2018), "Multi-level variational autoencoder": https://arxiv.org/abs/1705.08841
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.checks import integer, truth
from ppl_vae.errors import ModelError
from ppl_vae.exclusive import exclusive
from ppl_vae.models.configuration import Spec, remembers
from ppl_vae.models.hierarchies.conditional import Conditional
from ppl_vae.models.labelled.category import checked_code, known_labels, one_for_each, required_labels
from ppl_vae.models.labelled.category_and_code import code_given_category
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.program_pair import Network, ProgramPair, checked_size, on_request
from ppl_vae.models.programs import ObservedProgram, Recognition
from ppl_vae.precision import scale, widened
from ppl_vae.randomness import seeded

FIRST_LOG_SCALE = -1.0


class GroupsProgram(ObservedProgram):
    """The program prod_g p(u_g) prod_n p(z_n | u_g(n)) p(x_n | z_n), given the groups y.

    Args:
        num_classes: G, the number of groups.
        latent_dim: L, of z and u.
        decoder: [B, L] -> [B, P * prod(event_shape)] in any trailing shape.
        likelihood: features -> p(x|z).
        event_shape: the shape of one datum.
    """

    takes_labels = True
    group_plates = frozenset({"groups"})

    def __init__(
        self,
        num_classes: int,
        latent_dim: int,
        decoder: nn.Module,
        likelihood: Likelihood,
        event_shape: tuple[int, ...],
    ) -> None:
        super().__init__(decoder, likelihood, event_shape)
        self.num_classes = num_classes
        self.log_spread = nn.Parameter(torch.zeros(latent_dim))

    def forward(self, x: Tensor | None = None, y: Tensor | None = None, size: int | None = None) -> Tensor:
        """Run the program, given groups y [N], conditioned on x [N, *event_shape] or drawing x.

        Without x and y it draws ``size`` data, their groups too, all equally likely.

        Raises:
            ModelError: x comes without y, nothing is given at all, or x or y has another shape.
        """
        if y is None and x is not None:
            raise ModelError(f"site 'x': the groups y of shape [{len(x)}], integers, are needed beside x")
        shifts = self.shifts()
        if y is None:
            return self.run(lambda: self.code(shifts, self.drawn_groups(shifts)), None, size)
        # A draw is no training step, in which no value may be looked at.
        labels = known_labels(y, len(y), self.num_classes) if x is None else required_labels(y, len(x))
        return self.run(lambda: self.code(shifts, labels), x, len(labels))

    def shifts(self) -> Tensor:
        """Draw the groups' shifts [*batch, G, L]."""
        loc = widened(torch.zeros_like(self.log_spread))
        with pyro.plate("groups", self.num_classes):
            return pyro.sample("u", dist.Normal(loc, scale(widened(self.log_spread))).to_event(1))

    def drawn_groups(self, like: Tensor) -> Tensor:
        """Draw groups, all equally likely."""
        return pyro.sample("y", dist.Categorical(logits=torch.zeros_like(like[..., 0])))

    def code(self, shifts: Tensor, y: Tensor) -> Tensor:
        """Draw z of data in groups y [N], given the shifts: [*batch, N, L]."""
        return pyro.sample("z", dist.Normal(shifts.index_select(-2, y), 1.0).to_event(1))

    def latents(self) -> Tensor:
        """Refuse to draw without groups.

        Raises:
            ModelError: always.
        """
        raise ModelError("site 'x': draws need the groups y")


class GroupsGuide(Recognition):
    """The guide prod_g q(u_g) prod_n q(z_n | x_n, u_g(n)).

    Args:
        encoder: [N, *event_shape] -> features [N, H].
        num_classes: G.
        latent_dim: L.
        conditional: features and the group's shift [B, H + L] -> q(z|x, u).
        event_shape, allows_missing: as of ``models.programs.Recognition``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int,
        latent_dim: int,
        conditional: Conditional,
        event_shape: tuple[int, ...],
        allows_missing: bool = False,
    ) -> None:
        super().__init__(encoder, event_shape, allows_missing)
        self.conditional = conditional
        self.shift_loc = nn.Parameter(torch.zeros(num_classes, latent_dim))
        self.shift_log_scale = nn.Parameter(torch.full((num_classes, latent_dim), FIRST_LOG_SCALE))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Run the program: it draws the shifts and z [N, L].

        Raises:
            ModelError: x or y has another shape, or y is missing.
        """
        size = self.begin(x)
        if y is None:
            raise ModelError(f"site 'z': the groups y of shape [{size}], integers, are needed beside x")
        labels = required_labels(y, size)
        with pyro.plate("groups", len(self.shift_loc)):
            shifts = pyro.sample("u", self.over_shifts())
        with pyro.plate("data", size):
            return pyro.sample("z", self.given_shifts(x, shifts.index_select(-2, labels)))

    def over_shifts(self) -> dist.TorchDistribution:
        """The posterior q(u): batch shape [G], event shape [L]."""
        return dist.Normal(widened(self.shift_loc), scale(widened(self.shift_log_scale))).to_event(1)

    def given_shifts(self, x: Tensor, shifts: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x, u) of x [N, *event_shape] and each datum's shift [*batch, N, L]."""
        features = self.features(x)
        features = features.expand(*shifts.shape[:-1], features.shape[-1])
        return self.conditional(torch.cat([features, shifts.to(features.dtype)], -1))


class GroupsVAE(ProgramPair):
    """A VAE of data in known groups, each of which shifts the code.

    The group of a datum is its label y. ``encode``, ``decode`` and ``reconstruct`` take the shifts at the guide's
    mean; ``sample`` draws them from the guide.

    Args:
        event_shape: the shape of one datum.
        latent_dim: L.
        num_classes: G, the number of groups.
        network: as of VAE.
        hidden: the hidden layers between the encoder's features with u and q(z|x, u).
        likelihood: as of VAE.
        posterior: of z, as of VAE, for one that stands on features alone.
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.
    """

    kind = "groups"
    latent_dim: int
    model: GroupsProgram
    guide: GroupsGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int = 2,
        num_classes: int = 10,
        network: Network = "mlp",
        hidden: Sequence[int] = (64,),
        likelihood: LikelihoodSpec = "bernoulli",
        posterior: Spec = "diagonal",
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        self.latent_dim = checked_size("latent_dim", latent_dim)
        self.num_classes = checked_size("num_classes", num_classes)
        family = self.infer(posterior)
        with seeded(seed):
            encoder, decoder = self.networks(network, self.latent_dim, observed)
            conditional = code_given_category(encoder, shape, self.latent_dim, hidden, family, self.latent_dim)
            self.model = GroupsProgram(self.num_classes, self.latent_dim, decoder, observed, shape)
            self.guide = GroupsGuide(
                encoder, self.num_classes, self.latent_dim, conditional, shape, observed.allows_missing
            )

    @on_request
    def shifts(self) -> dist.TorchDistribution:
        """The posterior q(u) of the groups' shifts: batch shape [G], event shape [L]."""
        return self.guide.over_shifts()

    @on_request
    def encode(self, x: Array, y: Array) -> dist.TorchDistribution:
        """The posterior q(z|x, u) at the mean shift of each datum's group y [N]: batch [N], event [L]."""
        data = self.own_data(x)
        labels = known_labels(to_tensor(y, "y").to(data.device), len(data), self.num_classes)
        return self.guide.given_shifts(data, self.guide.shift_loc[labels])

    @on_request
    def decode(self, z: Array) -> dist.TorchDistribution:
        """The likelihood p(x|z) of codes [*batch, L]."""
        return self.model.decode(checked_code(self.to_own(z), self.latent_dim))

    @torch.no_grad()
    def reconstruct(self, x: Array, y: Array) -> Tensor:
        """The mean of p(x|z) at the guide's mean: [N, *event_shape]."""
        return self.decode(self.encode(x, y).mean).mean

    @exclusive()
    @torch.no_grad()
    def sample(self, num_samples: int, with_noise: bool = False, y: Array | None = None) -> Tensor:
        """The mean of p(x|z) at draws of z and of the shifts of its groups: [num_samples, *event_shape].

        Args:
            num_samples: how many.
            with_noise: draw x itself.
            y: their groups, one for all or [num_samples]; by default each from a new group of its own, whose shift
                is drawn from the prior.

        Draws come from torch's global generator.
        """
        count = integer("num_samples", num_samples)
        if y is None:
            prior = dist.Normal(0.0, scale(widened(self.model.log_spread))).to_event(1)
            shifts = prior.sample((count,))
        else:
            labels = one_for_each(to_tensor(y, "y").to(self.guide.shift_loc.device), count)
            shifts = self.shifts().sample()[known_labels(labels, count, self.num_classes)]
        likelihood = self.model.decode(shifts + torch.randn_like(shifts))
        return likelihood.sample() if truth("with_noise", with_noise) else likelihood.mean
