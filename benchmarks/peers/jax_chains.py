"""Chains for many data at once in JAX: NumPyro's NUTS, blackjax's NUTS and its ChEES, each under vmap over data.

The target is the posterior of a code under a decoder of dense layers with softplus between, Bernoulli pixels and a
standard normal prior, given as arrays. Every sampler gets the same transitions of warm-up and draws, from starts
drawn from the prior. Each returns draws [N, C, S, D].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from blackjax.util import run_inference_algorithm
from numpyro.infer.hmc import hmc

Decoder = Sequence[tuple[np.ndarray, np.ndarray]]
Density = Callable[[jax.Array, jax.Array], jax.Array]


def log_density(decoder: Decoder) -> Density:
    """log p(x, z) of z [D] and pixels x, up to a constant; of a decoder of (weight [out, in], bias [out])."""
    layers = [(jnp.asarray(weight), jnp.asarray(bias)) for weight, bias in decoder]

    def density(z: jax.Array, x: jax.Array) -> jax.Array:
        hidden = z
        for index, (weight, bias) in enumerate(layers):
            hidden = weight @ (hidden if index == 0 else jax.nn.softplus(hidden)) + bias
        return (x * hidden - jax.nn.softplus(hidden)).sum() - 0.5 * (z**2).sum()

    return density


def numpyro_nuts(density: Density, warmup: int, draws: int) -> Callable[..., jax.Array]:
    """NumPyro's NUTS with a dense mass matrix, adapted for every chain by itself."""
    init, sample = hmc(potential_fn_gen=lambda x: lambda z: -density(z, x), algo="NUTS")

    def chain(key: jax.Array, x: jax.Array, start: jax.Array) -> jax.Array:
        state = init(start, warmup, dense_mass=True, rng_key=key, model_args=(x,))

        def step(state: object, _: None) -> tuple[object, jax.Array]:
            state = sample(state, (x,))
            return state, state.z

        return jax.lax.scan(step, state, None, warmup + draws)[1][warmup:]

    return over_data_and_chains(chain)


def blackjax_nuts(density: Density, warmup: int, draws: int) -> Callable[..., jax.Array]:
    """blackjax's NUTS after its window adaptation of a dense mass matrix, for every chain by itself."""

    def chain(key: jax.Array, x: jax.Array, start: jax.Array) -> jax.Array:
        def of_x(z: jax.Array) -> jax.Array:
            return density(z, x)

        first, second = jax.random.split(key)
        adaptation = blackjax.window_adaptation(blackjax.nuts, of_x, is_mass_matrix_diagonal=False)
        (state, parameters), _ = adaptation.run(first, start, num_steps=warmup)
        kernel = blackjax.nuts(of_x, **parameters)
        _, kept = run_inference_algorithm(
            second, kernel, draws, initial_state=state, transform=lambda state, _: state.position
        )
        return kept

    return over_data_and_chains(chain)


def blackjax_chees(density: Density, warmup: int, draws: int) -> Callable[..., jax.Array]:
    """blackjax's ChEES-HMC: the chains of a datum share step size and trajectory length."""

    def datum(key: jax.Array, x: jax.Array, starts: jax.Array) -> jax.Array:
        def of_x(z: jax.Array) -> jax.Array:
            return density(z, x)

        first, second = jax.random.split(key)
        adaptation = blackjax.chees_adaptation(of_x, len(starts))
        (states, parameters), _ = adaptation.run(first, starts, 0.1, optax.adam(0.02), warmup)
        kernel = blackjax.dynamic_hmc(of_x, **parameters)

        def step(states: object, key: jax.Array) -> tuple[object, jax.Array]:
            states, _ = jax.vmap(kernel.step)(jax.random.split(key, len(starts)), states)
            return states, states.position

        return jax.lax.scan(step, states, jax.random.split(second, draws))[1].swapaxes(0, 1)

    @jax.jit
    def run(key: jax.Array, x: jax.Array, starts: jax.Array) -> jax.Array:
        return jax.vmap(datum)(jax.random.split(key, len(x)), x, starts)

    return run


def over_data_and_chains(chain: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Map a chain (key, x, start) over x [N, P] and starts [N, C, D], compiled."""

    @jax.jit
    def run(key: jax.Array, x: jax.Array, starts: jax.Array) -> jax.Array:
        keys = jax.random.split(key, starts.shape[:2])
        return jax.vmap(jax.vmap(chain, (0, None, 0)))(keys, x, starts)

    return run


SAMPLERS: Mapping[str, Callable[[Density, int, int], Callable[..., jax.Array]]] = {
    "NumPyro's NUTS under vmap": numpyro_nuts,
    "blackjax's NUTS under vmap": blackjax_nuts,
    "blackjax's ChEES under vmap": blackjax_chees,
}


def sampler(
    name: str, decoder: Decoder, x: np.ndarray, chains: int, warmup: int, draws: int
) -> Callable[[int], np.ndarray]:
    """A function of a seed that draws [N, C, S, D]."""
    run, dim = SAMPLERS[name](log_density(decoder), warmup, draws), decoder[0][0].shape[1]

    def drawn(seed: int) -> np.ndarray:
        first, second = jax.random.split(jax.random.PRNGKey(seed))
        starts = jax.random.normal(first, (len(x), chains, dim))
        return np.asarray(run(second, jnp.asarray(x), starts), float)

    return drawn
