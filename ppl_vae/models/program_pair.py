"""The base class of the package's pairs: they take arrays, draw from the generative program, and are stored."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar, cast

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.checks import integer, truth
from ppl_vae.containers import (
    CoordinateNames,
    Frame,
    dense,
    is_container,
    opened,
    require_one_order,
    require_same_order,
)
from ppl_vae.display import card, spaced
from ppl_vae.errors import ModelError
from ppl_vae.exclusive import exclusive
from ppl_vae.files import as_path
from ppl_vae.models.configuration import Config, Configured, Spec, own_config
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.count_networks import remember_start, start_untrained
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec, likelihood_config
from ppl_vae.models.likelihoods.likelihoods import likelihood as make_likelihood
from ppl_vae.models.likelihoods.missingness import encoder_of
from ppl_vae.models.posteriors.posteriors import POSTERIORS
from ppl_vae.models.posteriors.posteriors import posterior as make_posterior
from ppl_vae.models.programs import ObservedProgram, require_event_shape
from ppl_vae.models.protocols import require_space
from ppl_vae.models.stored.persistence import write_model
from ppl_vae.networks import Architecture, architecture, architecture_config
from ppl_vae.renamed import renamed
from ppl_vae.spaces import EUCLIDEAN, Space

P = ParamSpec("P")
S = TypeVar("S", bound=nn.Module)
R = TypeVar("R")
Network = str | Mapping[str, object] | Architecture | tuple[nn.Module, nn.Module]


class ProgramPair(Configured):
    """A generative ``model`` and a ``guide``, both Pyro programs, with one observed site "x".

    Attributes:
        model: the generative program.
        guide: its guide.
        event_shape: the shape of one datum.
        kind: what a configuration calls this kind of pair.
        latent_dim: the size of its latent where that is one vector, else None.
    """

    kind: str
    latent_dim: int | None = None
    model: ObservedProgram
    guide: nn.Module
    event_shape: tuple[int, ...]

    @property
    def config(self) -> Config:
        """The kind and options that ``load`` builds the pair from again."""
        return {"model": self.kind, **self.arguments}

    def observe(
        self, event_shape: tuple[int, ...], likelihood: LikelihoodSpec
    ) -> tuple[tuple[int, ...], Likelihood]:
        """Keep the shape of one datum, and make the likelihood, remembered by its configuration; give both.

        Raises:
            ModelError: the shape is not one of positive integers, or the likelihood is unknown.
        """
        self.event_shape = checked_shape(event_shape)
        part = make_likelihood(likelihood)
        part.require_event_shape(self.event_shape)
        self.remember(likelihood=likelihood_config(part))
        return self.event_shape, part

    def infer(self, posterior: Spec, space: Space = EUCLIDEAN) -> nn.Module:
        """Remember a posterior by its configuration, and make it.

        Raises:
            ModelError: it is unknown, or its draws lie in another space than the prior's.
        """
        family = make_posterior(posterior)
        require_space(family, space, self.latent_dim)
        self.remember(posterior=own_config(family, POSTERIORS))
        return family

    def networks(self, network: Network, code_dim: int, likelihood: Likelihood) -> tuple[nn.Module, nn.Module]:
        """Remember a network by its configuration; make its encoder of x and its decoder of codes [B, code_dim]."""
        self.remember(network=network_config(network))
        return networks(network, self.event_shape, code_dim, likelihood)

    def to_own(self, values: Array) -> Tensor:
        """Turn values into a tensor of the parameters' precision on their device."""
        like = next(self.parameters())
        return to_tensor(values).to(like.device, like.dtype)

    def own_data(self, x: Array) -> Tensor:
        """Turn data [N, *event_shape] into such a tensor.

        Raises:
            ModelError: x has another event shape.
            DataError: x is empty or no array of numbers, or has NaN that the likelihood does not take, or the
                training data's columns in another order.
        """
        data = self.to_own(self._in_own_order(x))
        require_event_shape(data, self.event_shape)
        self.model.require_observed(data)
        return data

    def _in_own_order(self, x: Array) -> Array:
        """Data out of their container, whose names are compared with the training data's; a table by column."""
        if not is_container(x):
            return x
        found = opened(x)
        if found.by_name is not None:
            # A set of one array is that array, whatever its name.
            named = [found.by_name["x"]] if "x" in found.by_name else list(found.by_name.values())
            return self._in_own_order(cast(Array, named[0])) if len(named) == 1 else x
        if found.x is None:
            return x
        if self.model.table is not None and isinstance(found.x, Frame):
            return self.model.table.coded(found.x)
        if self.model.table is not None:
            names: CoordinateNames = {"": [list(self.model.table.column_names)]}
            require_same_order(names, found.labels, "the model's columns")
        require_same_order(self.model.coordinate_names, found.labels)
        return cast(Tensor, dense(found.x))

    def start_untrained(self, x: Tensor) -> None:
        """Let a decoder of ours that nobody has trained start at the rates of counts x [N, *event_shape].

        ``fit`` calls it: at weights drawn without a look at the data a count of thousands has no finite density.
        Other likelihoods, trained or loaded weights and decoders of the user's own stay as they are. A likelihood
        of a table takes the scales of its columns, once.
        """
        self.model.likelihood.look_at(x)
        start_untrained(x, self.model.decoder, self.model.likelihood)

    @renamed(n="num_samples")
    @exclusive()
    @torch.no_grad()
    def sample(self, num_samples: int, with_noise: bool = False) -> Tensor:
        """The mean of p(x|z) at prior draws [num_samples, *event_shape]; ``with_noise`` draws x itself.

        Draws come from torch's global generator.
        """
        with poutine.block(), pyro.plate("data", integer("num_samples", num_samples)):
            likelihood = self.model.decode(self.model.latents())
        return likelihood.sample() if truth("with_noise", with_noise) else likelihood.mean

    def save(self, path: str | Path) -> None:
        """Write config.json and weights.safetensors into a folder: the old model stays, or the new one is there.

        Raises:
            ModelError: a weight is not finite; nothing was written.
            CheckpointError: a file could not be written.
        """
        write_model(as_path("path", path), self.config, self, self.model.coordinate_names)

    def facts(self) -> dict[str, object]:
        """The facts about the pair by label: its parts, its size, the device of its parameters."""
        parts = {spaced(name): value for name, value in self.config.items() if name != "model"}
        described = {name: "the user's own" if value is None else value for name, value in parts.items()}
        like = next(self.parameters())
        sizes = (sum(p.numel() for p in half.parameters()) for half in (self.model, self.guide))
        size = "{:,} of the model, {:,} of the guide".format(*sizes)
        return {**described, "parameters": size, "on": f"{like.device}, {str(like.dtype).removeprefix('torch.')}"}

    def _repr_html_(self) -> str:
        return card(type(self).__name__, self.facts())


def networks(
    network: Network, event_shape: tuple[int, ...], code_dim: int, likelihood: Likelihood
) -> tuple[nn.Module, nn.Module]:
    """The encoder of x and the decoder of codes [B, code_dim] that ``network`` stands for.

    An encoder of ours sees log(1 + x) where the likelihood asks for it; one of the user's own sees x.

    Raises:
        ModelError: the name is unknown, or a tuple is no pair of nn.Modules.
    """
    if isinstance(network, tuple):
        return _checked_pair(network)
    chosen = architecture(network)
    # In this order: it decides which weights a seed gives.
    encoder = encoder_of(chosen, event_shape, likelihood)
    decoder = chosen.decoder(code_dim, event_shape, likelihood.num_parameters)
    return encoder, remember_start(decoder)


def network_config(network: Network) -> Config | None:
    """The configuration that makes the network again; None for a user's own."""
    return None if isinstance(network, tuple) else architecture_config(architecture(network))


def checked_shape(event_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one datum, as a tuple of positive integers.

    Raises:
        ModelError: the shape is not one of positive integers.
    """
    shape = tuple(event_shape) if isinstance(event_shape, Iterable) else ()
    if not shape or any(not isinstance(n, Integral) or n < 1 for n in shape):
        raise ModelError(f"event_shape must be positive integers such as (1, 28, 28), got {event_shape!r}")
    return tuple(map(int, shape))


def checked_size(name: str, value: object) -> int:
    """Check a size, which is an integer of at least 1.

    Raises:
        ModelError: the size is missing, or not an integer of at least 1.
    """
    return integer(name, value)


def _checked_pair(network: tuple[nn.Module, nn.Module]) -> tuple[nn.Module, nn.Module]:
    if len(network) != 2 or not all(isinstance(half, nn.Module) for half in network):
        kinds = ", ".join(type(half).__name__ for half in network)
        raise ModelError(f"network must be a name, an architecture or a pair of nn.Modules, got ({kinds})")
    return network


def on_request(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Let a method of a module in evaluation mode record gradients only where an argument requires one.

    Codes and reconstructions are read, stored and drawn far more often than they are differentiated, and a tensor
    with a history cannot become an array. So in evaluation mode, in which ``fit`` and ``load`` leave a model,
    ``vae.encode`` and ``vae.decode`` record none, unless what they are given requires a gradient, as for a
    sensitivity to x or z. In training mode, as a loop of one's own has it, they record the parameters' like every
    torch module. Arguments whose rows are named in another order than those of the first are refused.
    """

    @functools.wraps(method)
    def wrapped(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        given = (*args, *kwargs.values())
        require_one_order(given)
        wanted = self.training or any(isinstance(value, Tensor) and value.requires_grad for value in given)
        with torch.set_grad_enabled(wanted and torch.is_grad_enabled()):
            return method(self, *args, **kwargs)

    return wrapped
