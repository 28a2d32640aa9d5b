"""Encoders and decoders, in torch alone and without any probability.

An architecture makes the two halves of a pair. An encoder maps [B, *event_shape] to features [B, H]; the
posterior's heads stand on them. A decoder maps codes [B, latent_dim] to [B, num_parameters * prod(event_shape)]
in any trailing shape, parameter-major; the likelihood reads its parameters from there. One leading batch
dimension is all that a network ever sees: particles are folded into it by the programs that call it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from torch import nn

from ppl_vae.checks import whole
from ppl_vae.corruption import corruption
from ppl_vae.errors import ModelError, unknown_name

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "softplus": nn.Softplus,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}


@runtime_checkable
class Architecture(Protocol):
    """An architecture: it makes an encoder and a decoder that fit each other."""

    def encoder(self, event_shape: tuple[int, ...]) -> nn.Module:
        """[B, *event_shape] -> features [B, H]."""

    def decoder(self, latent_dim: int, event_shape: tuple[int, ...], num_parameters: int) -> nn.Module:
        """[B, latent_dim] -> [B, num_parameters * prod(event_shape)], in any trailing shape."""


@dataclass(frozen=True)
class MLP:
    """Fully connected layers; the decoder mirrors the encoder.

    The defaults are the network of Pyro's VAE tutorial: one hidden layer of 400 units, softplus.

    Args:
        hidden: the units of every hidden layer.
        activation: of every hidden layer.
        batch_norm: normalise every hidden layer over the batch, ahead of its activation (Ioffe & Szegedy 2015).
            Every number that is told after training is by the running statistics.
    """

    hidden: tuple[int, ...] = (400,)
    activation: str = "softplus"
    batch_norm: bool = False

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ModelError(unknown_name("activation", self.activation, ACTIVATIONS))
        _require_counts("hidden", self.hidden)

    def encoder(self, event_shape: tuple[int, ...]) -> nn.Module:
        """[B, *event_shape] -> [B, hidden[-1]]."""
        return nn.Sequential(nn.Flatten(), *self._layers(math.prod(event_shape), self.hidden))

    def decoder(self, latent_dim: int, event_shape: tuple[int, ...], num_parameters: int) -> nn.Module:
        """[B, latent_dim] -> [B, num_parameters * prod(event_shape)]."""
        hidden = self.hidden[::-1]
        output = nn.Linear(hidden[-1], num_parameters * math.prod(event_shape))
        return nn.Sequential(*self._layers(latent_dim, hidden), output)

    def _layers(self, width: int, hidden: tuple[int, ...]) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for units in hidden:
            normalised = [nn.BatchNorm1d(units)] if self.batch_norm else []
            # A bias would be taken off by the normalisation again: its gradient is rounding alone.
            layers += [
                nn.Linear(width, units, bias=not self.batch_norm),
                *normalised,
                ACTIVATIONS[self.activation](),
            ]
            width = units
        return layers


@dataclass(frozen=True)
class Linear:
    """An architecture without hidden layers: the features are x itself, and the decoder is one affine map.

    With Gaussian heads and a Gaussian likelihood this is probabilistic PCA.
    """

    def encoder(self, event_shape: tuple[int, ...]) -> nn.Module:
        """[B, *event_shape] -> [B, prod(event_shape)]."""
        return nn.Flatten()

    def decoder(self, latent_dim: int, event_shape: tuple[int, ...], num_parameters: int) -> nn.Module:
        """[B, latent_dim] -> [B, num_parameters * prod(event_shape)]."""
        return nn.Linear(latent_dim, num_parameters * math.prod(event_shape))


@dataclass(frozen=True)
class Conv:
    """Two strided 3x3 convolutions and their transposes, as in the Keras example of a convolutional VAE.

    At 28x28x1 with a 2-d latent the encoder and its two heads have 69,076 parameters and the decoder 65,089.
    Weights start Glorot-uniform and biases at zero, as in Keras.
    """

    channels: tuple[int, int] = (32, 64)
    features: int = 16

    def __post_init__(self) -> None:
        _require_counts("channels", self.channels, length=2)
        whole("features", self.features)

    def encoder(self, event_shape: tuple[int, ...]) -> nn.Module:
        """[B, C, H, W] -> [B, features]."""
        in_channels, *size = _image_shape("conv", event_shape)
        first, second = self.channels
        network = nn.Sequential(
            nn.Conv2d(in_channels, first, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(second * math.prod(_halved(_halved(size))), self.features),
            nn.ReLU(),
        )
        return network.apply(_glorot)

    def decoder(self, latent_dim: int, event_shape: tuple[int, ...], num_parameters: int) -> nn.Module:
        """[B, latent_dim] -> [B, num_parameters * C, H, W]."""
        out_channels, *size = _image_shape("conv", event_shape)
        first, second = self.channels
        half, quarter = _halved(size), _halved(_halved(size))
        network = nn.Sequential(
            nn.Linear(latent_dim, second * math.prod(quarter)),
            nn.ReLU(),
            nn.Unflatten(1, (second, *quarter)),
            _doubling(second, second, quarter, half),
            nn.ReLU(),
            _doubling(second, first, half, size),
            nn.ReLU(),
            nn.ConvTranspose2d(first, num_parameters * out_channels, 3, padding=1),
        )
        return network.apply(_glorot)


@dataclass(frozen=True)
class ConvTiny:
    """The pair of 2x2 convolutions with tanh for images of 3x3 pixels and a 2-d code.

    Encoder: 3x3x1 -> 2x2x6 -> 1x1x2. Decoder: the transposes back to 3x3x1, then a dense linear layer.
    """

    channels: int = 6

    def __post_init__(self) -> None:
        whole("channels", self.channels)

    def encoder(self, event_shape: tuple[int, ...]) -> nn.Module:
        """[B, C, 3, 3] -> [B, 2]."""
        in_channels = self._checked(event_shape)
        return nn.Sequential(
            nn.Conv2d(in_channels, self.channels, 2),
            nn.Tanh(),
            nn.Conv2d(self.channels, 2, 2),
            nn.Tanh(),
            nn.Flatten(),
        )

    def decoder(self, latent_dim: int, event_shape: tuple[int, ...], num_parameters: int) -> nn.Module:
        """[B, latent_dim] -> [B, num_parameters * C * 9]."""
        out_channels = num_parameters * self._checked(event_shape)
        return nn.Sequential(
            nn.Unflatten(1, (latent_dim, 1, 1)),
            nn.ConvTranspose2d(latent_dim, self.channels, 2),
            nn.Tanh(),
            nn.ConvTranspose2d(self.channels, out_channels, 2),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(9 * out_channels, 9 * out_channels),
        )

    def _checked(self, event_shape: tuple[int, ...]) -> int:
        channels, *size = _image_shape("conv-tiny", event_shape)
        if tuple(size) != (3, 3):
            raise ModelError(f"network 'conv-tiny' is made for images of 3x3 pixels, got event_shape {event_shape}")
        return channels


@dataclass(frozen=True)
class Denoising:
    """Another architecture whose encoder sees a corrupted x while it trains, as denoising autoencoders do.

    Args:
        of: the architecture, its name, or its name and options.
        noise: "masking", "gaussian" or "salt-and-pepper"; see ``ppl_vae.corruption``.
        level: the share of corrupted coordinates, or the standard deviation of the Gaussian noise.
    """

    of: str | Mapping[str, object] | Architecture = "mlp"
    noise: str = "masking"
    level: float = 0.3

    def __post_init__(self) -> None:
        corruption(self.noise, self.level)
        chosen = architecture(self.of)
        # As plain values where they can be, for a configuration.
        object.__setattr__(self, "of", architecture_config(chosen) or chosen)

    def encoder(self, event_shape: tuple[int, ...]) -> nn.Module:
        """[B, *event_shape] -> [B, H], with noise before it in training mode."""
        return nn.Sequential(corruption(self.noise, self.level), architecture(self.of).encoder(event_shape))

    def decoder(self, latent_dim: int, event_shape: tuple[int, ...], num_parameters: int) -> nn.Module:
        """The decoder of the other architecture."""
        return architecture(self.of).decoder(latent_dim, event_shape, num_parameters)


ARCHITECTURES: Mapping[str, Callable[..., Architecture]] = {
    "mlp": MLP,
    "linear": Linear,
    "conv": Conv,
    "conv-tiny": ConvTiny,
    "denoising": Denoising,
}


def architecture(spec: str | Mapping[str, object] | Architecture) -> Architecture:
    """The architecture behind a name, a stored configuration, or itself.

    Raises:
        ModelError: the name or an option is unknown, or ``spec`` is none of the three.
    """
    if isinstance(spec, str):
        spec = {"name": spec}
    if isinstance(spec, Architecture):
        return spec
    if not isinstance(spec, Mapping) or "name" not in spec:
        raise ModelError(f"network must be a name, an architecture or a pair of nn.Modules, got {spec!r}")
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items() if k != "name"}
    if not isinstance(spec["name"], str) or spec["name"] not in ARCHITECTURES:
        raise ModelError(unknown_name("network", spec["name"], ARCHITECTURES))
    try:
        return ARCHITECTURES[spec["name"]](**options)
    except TypeError as error:
        raise ModelError(f"network {spec['name']!r}: {error}") from error


def architecture_config(spec: Architecture) -> dict[str, Any] | None:
    """The name and options that make this architecture again; None for one that is not ours."""
    for name, kind in ARCHITECTURES.items():
        if type(spec) is kind:
            options = asdict(spec)  # type: ignore[call-overload]  # kind is a dataclass here
            # What is off is left out, so that versions which did not know of it read the folder.
            return {"name": name, **{key: value for key, value in options.items() if value is not False}}
    return None


def _require_counts(name: str, values: object, length: int | None = None) -> None:
    """Raise ``ModelError`` unless ``values`` are layer sizes, ``length`` of them if that is given."""
    if not isinstance(values, tuple) or not values or len(values) != (length or len(values)):
        number = "one or more" if length is None else length
        raise ModelError(f"{name} must be {number} sizes, got {values!r}")
    for value in values:
        if whole(name, value) is None:
            raise ModelError(f"{name} must be sizes of layers, got {values!r}")


def _image_shape(name: str, event_shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(event_shape) != 3:
        raise ModelError(f"network {name!r} needs images of event_shape (C, H, W), got {event_shape}")
    return event_shape


def _halved(size: list[int]) -> list[int]:
    return [math.ceil(n / 2) for n in size]


def _doubling(in_channels: int, out_channels: int, small: list[int], large: list[int]) -> nn.ConvTranspose2d:
    """The transpose of a stride-2 convolution, from ``small`` back to exactly ``large``."""
    extra = (large[0] - (2 * small[0] - 1), large[1] - (2 * small[1] - 1))
    return nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=extra)


def _glorot(layer: nn.Module) -> None:
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
