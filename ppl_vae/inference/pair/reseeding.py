"""Code of a user's that starts torch's generator anew: what pass for independent draws are the same numbers.

``torch.manual_seed`` in a program gives every run of it the same noise: a mean over chunks of draws is one over
copies of the first, and its error is told as that of independent ones. So programs that do it are refused. In a
callback, in a data set that augments, in a schedule or an optimiser it is nothing wrong: but the steps that follow
must not draw from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.learned import generator_states, put_back


@contextlib.contextmanager
def seeding_refused(program: str) -> Iterator[None]:
    """Refuse a program or an objective that seeds torch's generator of the CPU, as ``torch.manual_seed`` does.

    A generator that is found as it was afterwards, as after ``torch.random.fork_rng``, has been left alone.

    Args:
        program: what it is called in the refusal: "model", "guide", "objective".

    Raises:
        ModelError: it does.
    """
    seed = torch.initial_seed()
    yield
    if torch.initial_seed() != seed:
        raise ModelError(
            f"the {program} seeds torch's generator, as torch.manual_seed and pyro.set_rng_seed do: all its runs "
            "then draw the same numbers, which would be taken for independent ones; leave seeding out of it "
            "(functions take a seed=), or put it inside torch.random.fork_rng()"
        )


@contextlib.contextmanager
def noise_kept() -> Iterator[None]:
    """Put torch's generators back as they were where what runs inside has seeded them; mere draws move them on."""
    seed, states = torch.initial_seed(), generator_states()
    try:
        yield
    finally:
        if torch.initial_seed() != seed:
            put_back(states)
