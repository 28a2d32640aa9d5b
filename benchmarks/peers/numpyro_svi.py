"""NumPyro: SVI with one jitted update a step, and with a whole epoch in one lax.scan.

Images lie channels last, where XLA's convolutions on a CPU are fastest; the weights are turned once, at the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import lax
from numpyro import distributions as dist
from numpyro.infer import SVI, RenyiELBO, TraceMeanField_ELBO
from torch import nn

from .contender import Run, Task, UnavailableError, timed
from .torch_vae import TorchVAE

Layer = Callable[[dict[str, Any], Any], Any]
ACTIVATIONS = {nn.Softplus: jax.nn.softplus, nn.ReLU: jax.nn.relu, nn.Tanh: jnp.tanh}
LAYOUT = ("NHWC", "HWIO", "NHWC")


class Network:
    """An nn.Sequential of torch as a function of JAX, with its parameters converted.

    Args:
        name: prefix of its weights.
        layers: of torch.
        weights: by torch's names.
        image: the input's (C, H, W), where it is an image.
    """

    def __init__(
        self,
        name: str,
        layers: nn.Sequential,
        weights: dict[str, np.ndarray],
        image: tuple[int, ...] | None = None,
    ) -> None:
        self.parameters: dict[str, np.ndarray] = {}
        self.layers: list[Layer] = []
        self.image = image
        for index, layer in enumerate(layers):
            key = f"{name}.{index}"
            own = {part: weights[f"{key}.{part}"] for part in ("weight", "bias") if f"{key}.{part}" in weights}
            following = layers[index + 2] if index + 2 < len(layers) else None
            self.layers.append(self._converted(key, layer, own, following))

    def __call__(self, parameters: dict[str, Any], x: Any) -> Any:
        """x [B, ...] through all layers."""
        for layer in self.layers:
            x = layer(parameters, x)
        return x

    def _converted(
        self, key: str, layer: nn.Module, own: dict[str, np.ndarray], following: nn.Module | None
    ) -> Layer:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            return self._convolution(key, layer, own)
        if isinstance(layer, nn.Linear):
            return self._linear(key, own, following)
        if isinstance(layer, nn.Flatten):
            return lambda parameters, x: x.reshape(len(x), -1)
        if isinstance(layer, nn.Unflatten):
            channels, *size = layer.unflattened_size
            return lambda parameters, x: x.reshape(len(x), *size, channels)
        activation = ACTIVATIONS[type(layer)]
        return lambda parameters, x: activation(x)

    def _linear(self, key: str, own: dict[str, np.ndarray], following: nn.Module | None) -> Layer:
        weight, bias = own["weight"].T, own["bias"]
        if self.image is not None:
            weight = channels_last(weight, self.image)
        if isinstance(following, nn.Unflatten):
            weight = channels_last(weight.T, following.unflattened_size).T
            bias = channels_last(bias, following.unflattened_size)
        self.parameters |= {f"{key}.weight": weight, f"{key}.bias": bias}
        self.image = None
        return lambda parameters, x: x @ parameters[f"{key}.weight"] + parameters[f"{key}.bias"]

    def _convolution(self, key: str, layer: Any, own: dict[str, np.ndarray]) -> Layer:
        transposed = isinstance(layer, nn.ConvTranspose2d)
        kernel = own["weight"]
        # A transposed convolution is one over its input spread out, with the kernel turned round.
        kernel = kernel[:, :, ::-1, ::-1].transpose(2, 3, 0, 1) if transposed else kernel.transpose(2, 3, 1, 0)
        self.parameters |= {f"{key}.weight": kernel, f"{key}.bias": own["bias"]}
        stride, padding = layer.stride, layer.padding
        if transposed:
            margins = [
                (size - 1 - pad, size - 1 - pad + extra)
                for size, pad, extra in zip(layer.kernel_size, padding, layer.output_padding, strict=True)
            ]
            how = {"window_strides": (1, 1), "lhs_dilation": stride, "padding": margins}
        else:
            how = {"window_strides": stride, "padding": [(pad, pad) for pad in padding]}
            assert self.image is not None
            size = [math.ceil(n / s) for n, s in zip(self.image[1:], stride, strict=True)]
            self.image = (layer.out_channels, *size)

        def convolve(parameters: dict[str, Any], x: Any) -> Any:
            convolved = lax.conv_general_dilated(x, parameters[f"{key}.weight"], dimension_numbers=LAYOUT, **how)
            return convolved + parameters[f"{key}.bias"]

        return convolve


def channels_last(weight: np.ndarray, image: tuple[int, ...]) -> np.ndarray:
    """Rows that stand for (C, H, W), in the order (H, W, C)."""
    rows = weight.reshape(*image, *weight.shape[1:])
    return np.ascontiguousarray(np.moveaxis(rows, 0, 2).reshape(weight.shape))


class JitStep:
    """One compiled update a step."""

    def __init__(self, task: Task) -> None:
        if task.device == "cuda" and jax.default_backend() != "gpu":
            raise UnavailableError("this JAX has no CUDA")
        self.workload = task.workload
        weights = {name: weight.numpy() for name, weight in task.weights.items()}
        layers = TorchVAE(task.workload)
        heads = nn.Sequential(layers.loc_head), nn.Sequential(layers.scale_head)
        renamed = {name.replace("_head.", "_head.0."): weight for name, weight in weights.items()}
        convolutional = task.workload.network["name"] == "conv"
        image = task.workload.event_shape if convolutional else None
        self.encoder = Network("encoder", layers.encoder, weights, image)
        self.loc_head, self.scale_head = (
            Network(name, head, renamed) for name, head in zip(("loc_head", "scale_head"), heads, strict=True)
        )
        self.decoder = Network("decoder", layers.decoder, weights)
        x = task.x.movedim(1, -1) if convolutional else task.x.flatten(1)
        self.x = jnp.asarray(np.ascontiguousarray(x.numpy()))
        self.svi = SVI(self.model, self.guide, numpyro.optim.Adam(task.workload.lr), self._objective())
        self.state = self.svi.init(jax.random.PRNGKey(0), self.x[: task.workload.batch])
        # With one thread, XLA's products are not split; for two it takes what the machine has.
        self.options = {"xla_cpu_multi_thread_eigen": False} if task.threads == 1 else None
        self.generator = np.random.default_rng(0)
        self.update = jax.jit(self._update, compiler_options=self.options)

    def _objective(self) -> Any:
        particles = self.workload.particles
        return TraceMeanField_ELBO() if particles == 1 else RenyiELBO(alpha=0, num_particles=particles)

    def model(self, x: Any) -> None:
        """p(z) p(x|z)."""
        parameters = registered(self.decoder)
        with numpyro.plate("data", len(x)):
            prior = dist.Normal(jnp.zeros(self.workload.latent_dim), 1.0, validate_args=False)
            z = numpyro.sample("z", prior.to_event(1))
            logits = self.decoder(parameters, z).reshape(x.shape)
            # Under validation a grey pixel has the density of no Bernoulli.
            p = dist.Bernoulli(logits=logits, validate_args=False).to_event(x.ndim - 1)
            numpyro.sample("x", p, obs=x)

    def guide(self, x: Any) -> None:
        """q(z|x)."""
        parameters = registered(self.encoder) | registered(self.loc_head) | registered(self.scale_head)
        features = self.encoder(parameters, x)
        scale = jnp.exp(0.5 * self.scale_head(parameters, features))
        q = dist.Normal(self.loc_head(parameters, features), scale, validate_args=False)
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", q.to_event(1))

    def run(self, epochs: int) -> Run:
        """Train that many epochs more."""
        return timed(self._epoch, epochs)

    def _update(self, state: Any, x: Any, indices: Any) -> Any:
        return self.svi.update(state, x[indices])

    def _order(self) -> np.ndarray:
        order = self.generator.permutation(len(self.x)).astype(np.int32)
        return order.reshape(self.workload.steps, self.workload.batch)

    def _epoch(self) -> float:
        losses = []
        for indices in self._order():
            self.state, loss = self.update(self.state, self.x, indices)
            losses.append(loss)
        return float(jnp.stack(losses).sum()) / len(self.x)


class Scan(JitStep):
    """An epoch in one compiled loop."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.scan = jax.jit(self._scan, compiler_options=self.options)

    def _scan(self, state: Any, x: Any, order: Any) -> Any:
        return lax.scan(lambda now, indices: self._update(now, x, indices), state, order)

    def _epoch(self) -> float:
        self.state, losses = self.scan(self.state, self.x, self._order())
        return float(losses.sum()) / len(self.x)


def registered(network: Network) -> dict[str, Any]:
    """The network's parameters as NumPyro's."""
    return {name: numpyro.param(name, jnp.asarray(value)) for name, value in network.parameters.items()}
