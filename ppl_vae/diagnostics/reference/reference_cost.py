"""How long the chains of a reference may take at most, told before they are begun."""

from __future__ import annotations

import math
import time

import torch

from ppl_vae.containers import Data
from ppl_vae.diagnostics.given import admitted
from ppl_vae.inference.chains import frozen
from ppl_vae.inference.chains.pilot import LENGTH, LONGEST, MOST_HALVINGS, PILOT_LEAPFROG
from ppl_vae.inference.chains.recorded_gradient import RecordedGradient
from ppl_vae.inference.evidence.annealed import chains_per_pass
from ppl_vae.inference.evidence.unconstrained import LatentVector
from ppl_vae.inference.evidence.weight_chunks import MEMORY_LIMIT
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.pair import PairLike

TIMED = 3


def most_gradients(num_samples: int, num_warmup: int) -> int:
    """Count the gradients of the longest trajectories that a pilot run may choose, at all transitions."""
    search = PILOT_LEAPFROG * num_warmup
    # The longest is doubled from 8 to 64, and tried again where a step size is halved.
    lengths = round(LENGTH * num_warmup) * LONGEST * (2 + MOST_HALVINGS)
    return search + lengths + num_samples * LONGEST


def seconds_of_gradient(pair: PairLike, x: Data, num_chains: int, *, seed: int = 0) -> float:
    """Time a gradient of all chains of all data, by the wall clock: the shortest of a few on as many as fit a pass.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: the data [N, *event_shape], with what the programs take beside them.
        num_chains: of every datum.
        seed: of the points; torch's global generators are left as they were.

    Raises:
        ModelError: the pair is refused; the site is named.
    """
    given = admitted(pair, x)
    num_data, size = len(given), chains_per_pass(given.x, num_chains, MEMORY_LIMIT)
    given = given[torch.arange(min(size, num_data))]
    with evaluating(*given.programs, seed=seed, device=given.x.device), frozen(*given.programs), torch.no_grad():
        latents = LatentVector(given.model, given.x)
        slope, position = RecordedGradient(latents.log_density), latents.prior_draw(max(2, num_chains))
        float(slope(position)[0].sum())
        took = []
        for _ in range(TIMED):
            start = time.monotonic()
            # Read back, since a device works on after the call.
            float(slope(position)[0].sum())
            took.append(time.monotonic() - start)
    return min(took) * math.ceil(num_data / size)
