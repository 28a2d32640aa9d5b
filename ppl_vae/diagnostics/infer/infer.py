"""The function ``infer``: for every datum draws of p(z|x) of known quality, and what they cost."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_vae.arrays import Array
from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.arviz import container
from ppl_vae.diagnostics.arviz.container import ArvizData
from ppl_vae.diagnostics.arviz.draw_groups import draws_dataset
from ppl_vae.diagnostics.given import require_own_posterior
from ppl_vae.diagnostics.infer.blocks import climb_block, climb_elsewhere
from ppl_vae.diagnostics.infer.ladder import Checks, Climbed
from ppl_vae.diagnostics.infer.part import Part
from ppl_vae.diagnostics.infer.stored_blocks import StoredBlocks, fingerprint
from ppl_vae.errors import ModelError
from ppl_vae.executors import Executors, open_executor, submitted
from ppl_vae.inference.pair.admission import admitted
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.indices import with_indices
from ppl_vae.inference.pair.pair import PairLike, as_pair
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.stream import in_one_piece
from ppl_vae.progress import watched
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import renamed

STREAM = 61
MEMORY_LIMIT = 1 << 30
LEAST_DRAWS, LEAST_SAMPLES, MOST_BLOCK = 20, 100, 1024
# Passes of a processor: larger arrays come fresh from the system every time, which costs more than they save.
MOST_OF_A_PASS = 1 << 24
# Numbers that a draw of a datum takes on its way, and activations in a gradient for each output.
NUMBERS_PER_SAMPLE, ACTIVATIONS, CHAINS_AT_ONCE = 12, 24, 16
# A whole result stands in memory twice while it is put together.
COPIES = 2
NOT_REACHED = 0
# The rungs by number.
RUNGS = ("", "guide", "resampled", "refined", "chains", "flagged")
MEANING = {
    "rung": "1 guide, 2 smoothed importance resampling, 3 the guide fitted to the datum, 4 HMC, 5 flagged; "
    "0 not reached before the deadline",
    "khat": "Pareto shape of the importance weights of the guide, from rung 3 on of the fitted guide, or of moved "
    "draws; -inf: equal",
    "rhat": "the larger of split and nested R-hat over coordinates; NaN where no chains were run",
    "ess": "effective draws: of independent draws, of weights, or the least of bulk and tail of chains",
    "seconds": "time of each rung shared among its data",
    "gradients": "evaluations of the gradient of log p(x, z)",
    "reason": "why a datum was flagged, or climbed to where it is",
}


@renamed(draws="num_draws")
def infer(
    pair: PairLike,
    x: Data,
    num_draws: int = 1000,
    y: Array | None = None,
    *,
    num_samples: int | None = None,
    khat: float | None = None,
    efficiency: float = 0.99,
    rhat: float = 1.01,
    ess: float = 400.0,
    deadline: float | None = None,
    memory_limit: int = MEMORY_LIMIT,
    folder: str | Path | None = None,
    progress: bool | None = None,
    executor: Executors = None,
    seed: int = 0,
) -> ArvizData:
    """Draw from p(z|x) of every datum, each by the cheapest way whose check it passes.

    The rungs are the guide's draws; Pareto-smoothed importance resampling; the same after the guide was fitted to
    the datum; many-chain HMC; and a flag. A search for modes that the guide has missed comes before. Discrete sites
    alone, of at most 4096 values together, are enumerated instead: rung 2, with exact weights.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs; nothing in it is trained.
        x: [N, *event_shape].
        num_draws: of every datum.
        y: labels [N], of a pair that takes them.
        num_samples: importance draws they are chosen from; None takes twice ``num_draws``.
        khat: the largest k-hat that passes; None takes min(1 - 1 / log10 S, 0.7) (Vehtari et al. 2024). Draws
            chosen by weights lack far tails that a guide narrower than the posterior does not reach, which their
            ``ess`` does not tell. So draws that pass with weights far from equal (a k-hat above 0.3) are moved to
            the mean and covariance that the weights tell (Paananen et al. 2021), where latents are continuous: of a
            guide with half the posterior's variance or 0.4 of it they then spread 0.5% too little (2% and 7%
            unmoved), with 0.3 of it 3% (18%), with 0.2, which mostly climbs, 13% (33%).
        efficiency: the least share of effective draws with which the guide's stay as they are; at 0.99 no mean is
            off by more than a tenth of a standard deviation (Cauchy-Schwarz).
        rhat: the largest split R-hat (Vehtari et al. 2021) and nested R-hat (Margossian et al. 2024) that pass.
        ess: the least effective sample size (Vehtari et al. 2021: 100 for each of four chains), or ``num_draws``
            where that is less.
        deadline: seconds after which nothing is begun; data that were not reached have rung 0 and draws of NaN.
        memory_limit: bytes that arrays may take, the result included, roughly.
        folder: where finished blocks are kept, so that the same call continues after an interruption.
        progress: show data per rung and the time left; by default where a terminal or a notebook shows it to
            somebody.
        executor: where blocks of data are worked on, several at a time (``ppl_vae.executors``); the draws are the
            same. None works on them here, one after the other.
        seed: of all draws; torch's global generators are left as they were.

    Returns:
        An ArviZ object, its data by the names of the rows where x has any: in "posterior" the draws of every latent
        site [chain, draw, datum, *event], in "sample_stats" over "datum": rung, khat, rhat, ess, seconds,
        gradients, reason.

    Raises:
        ModelError: the pair or a setting is refused; the site is named. A datum whose rung needs what its sites do
            not allow, as HMC on discrete ones, is flagged with the site's name.
        DataError: x is empty, or the likelihood has no density for some value.
        CheckpointError: the folder cannot be used.

    >>> import torch
    >>> import ppl_vae as pv
    >>> lg = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0)
    >>> result = infer(lg, torch.zeros(2, 3), num_draws=50, progress=False)
    >>> result.sample_stats["rung"].values.tolist()
    [1, 1]
    """
    began = time.monotonic()
    num_draws, seed = integer("num_draws", num_draws, least=LEAST_DRAWS), integer("seed", seed, least=None)
    num_samples = max(LEAST_SAMPLES, 2 * num_draws) if num_samples is None else integer("num_samples", num_samples)
    if num_samples < max(num_draws, LEAST_SAMPLES):
        raise ModelError(f"num_samples must be at least draws and {LEAST_SAMPLES}, got {num_samples}")
    x = in_one_piece(as_pair(pair), x)
    rows = Arguments.of(as_pair(pair)).labels(x).rows
    given, batch = admitted(pair, x, y)
    require_own_posterior(Conditioned((given.model, given.guide), batch), 0, "infer")
    everything = Part(*with_indices(given.model, given.guide, batch))
    end = math.inf if deadline is None else began + _positive("deadline", deadline)
    limit = integer("memory_limit", memory_limit)
    asked: dict[str, object] = {
        "draws": num_draws, "num_samples": num_samples, "khat": khat, "efficiency": efficiency, "rhat": rhat,
        "ess": ess, "memory_limit": limit, "seed": seed,
    }  # fmt: skip
    size = _block_size(everything, num_draws, num_samples, limit)
    of_a_pass = limit // 16 if everything.x.is_cuda else min(limit // 16, MOST_OF_A_PASS)
    checks = Checks(num_draws, num_samples, khat, efficiency, rhat, ess, end, max(1 << 20, of_a_pass))
    stored = StoredBlocks(folder, {**asked, **fingerprint(everything)})
    blocks: list[Climbed | None] = []
    known: set[int] = set()
    with open_executor(executor) as running, watched(len(everything), "datum", progress, by_hand=True) as bar:

        def started(first: int) -> Climbed | Future[Climbed] | None:
            block = stored.get(first)
            if block is not None or time.monotonic() > end:
                known.add(first)
                return block
            part, own = everything.of(slice(first, first + size)), derived_seed(seed, STREAM, first)
            if executor is None:
                return climb_block(given.model, given.guide, part, checks, own)
            told = time.time(), time.monotonic(), torch.get_num_threads()
            return running.submit(climb_elsewhere, given.model, given.guide, part, checks, own, *told)

        # Here each block is done when it was started; elsewhere all are started first.
        under_way = ((first, started(first)) for first in range(0, len(everything), size))
        for first, found in under_way if executor is None else list(under_way):
            block = submitted(found, "a block of data") if isinstance(found, Future) else found
            if block is not None and block.complete and first not in known:
                stored.put(first, block)
            blocks.append(block)
            bar.set_postfix_str(_by_rung(blocks))
            bar.update(min(size, len(everything) - first))
    return _assembled(blocks, len(everything), size, {**asked, "largest_khat": checks.largest_khat}, rows)


def _by_rung(blocks: list[Climbed | None]) -> str:
    """Say how many data stand on each rung so far."""
    rungs = [block.rung for block in blocks if block is not None]
    counts = torch.bincount(torch.cat(rungs), minlength=len(RUNGS)) if rungs else torch.zeros(len(RUNGS))
    return ", ".join(f"{name} {int(count)}" for name, count in zip(RUNGS, counts, strict=True) if name and count)


def _block_size(part: Part, draws: int, num_samples: int, limit: int) -> int:
    """The number of data in a block under the limit.

    Raises:
        ModelError: the draws of all data, or the work on one datum, need more.
    """
    with torch.no_grad(), evaluating(part.model, part.guide, seed=0, device=part.x.device):
        few = part.of(slice(0, 2))
        terms = run_terms(few.model, few.guide, few.data)
    numbers = sum(max(1, site.value[0, 0].numel()) for site in terms.sites.values() if site.p is not None)
    item = part.x.element_size()
    result = COPIES * len(part) * draws * numbers * item
    per_datum = num_samples * (NUMBERS_PER_SAMPLE * numbers * item + 64)
    per_datum += CHAINS_AT_ONCE * ACTIVATIONS * max(1, part.x[0].numel()) * item
    size = (limit - result) // per_datum
    if size < 1:
        raise ModelError(
            f"memory_limit: {draws} draws of {len(part)} data take {result / 2**20:.0f} MiB and the work on one "
            f"datum {per_datum / 2**20:.0f} MiB, more than {limit / 2**20:.0f} MiB; take fewer draws or data, or a "
            "higher limit"
        )
    return min(size, MOST_BLOCK, len(part))


def _assembled(
    blocks: list[Climbed | None],
    num_data: int,
    size: int,
    attributes: Mapping[str, object],
    rows: np.ndarray | None,
) -> ArvizData:
    """Put the blocks together as one ArviZ object, whose "datum" has the names of the rows where they have any.

    Raises:
        ModelError: none was reached before the deadline.
    """
    reached = [block for block in blocks if block is not None]
    if not reached:
        raise ModelError("deadline: no datum was reached before it; give more time")
    like = reached[0]
    values = {
        name: np.full((1, value.shape[0], num_data, *value.shape[2:]), np.nan, dtype=_precision(value))
        for name, value in like.values.items()
    }
    empty: dict[str, np.ndarray] = {
        "rung": np.zeros(num_data, dtype=np.int64), "gradients": np.zeros(num_data, dtype=np.int64),
        **{name: np.full(num_data, np.nan) for name in ("khat", "rhat", "ess", "seconds")},
    }  # fmt: skip
    reasons = ["the deadline was reached"] * num_data
    for number, block in enumerate(blocks):
        if block is None:
            continue
        part = slice(number * size, number * size + len(block.rung))
        for name, value in block.values.items():
            values[name][0, :, part] = value.cpu().numpy()
        for name, array in empty.items():
            array[part] = block.numbers[name].cpu().numpy()
        reasons[part] = block.reason
    dims = _event_dims({name: array.ndim - 3 for name, array in values.items()})
    table = {name: ("datum", array, {"description": MEANING[name]}) for name, array in empty.items()}
    table["reason"] = ("datum", np.array(reasons, dtype=str), {"description": MEANING["reason"]})
    kept = {name: value for name, value in attributes.items() if value is not None}
    rows_named = {} if rows is None else {"datum": ("datum", rows)}
    groups = {"posterior": draws_dataset(values, dims, rows_named), "sample_stats": xr.Dataset(table, rows_named)}
    return container.build(groups, {"created_by": "ppl_vae.infer", **kept})


def _precision(value: Tensor) -> type[np.floating]:
    return np.float64 if value.dtype == torch.float64 else np.float32


def _event_dims(ranks: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    stems = {name: "latent" if len(ranks) == 1 else f"{name}_latent" for name in ranks}
    stems = {name: f"{stem}_dim" if stem in ranks else stem for name, stem in stems.items()}
    return {
        name: (stems[name],) if rank == 1 else tuple(f"{stems[name]}_{axis}" for axis in range(rank))
        for name, rank in ranks.items()
    }


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ModelError(f"{name} must be a positive number of seconds, got {value!r}")
    return float(value)
