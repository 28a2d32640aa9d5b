"""Tucker, Lawson, Gu & Maddison 2019: doubly reparameterised gradients against IWAE's, K = 64.

https://arxiv.org/abs/1810.04152. Their results on MNIST are figures and no table: what is held here are the signs,
of the signal-to-noise ratio of the guide's gradient and of the trained bound.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.data.dataset import Dataset, Split
from tables.scores import NLL, active_units, bound, negative_log_likelihood
from tables.table import TANH, Comparison, Row, Run, Scores, Table, start_at_the_mean

K, BATCH, START = 64, 32, "VAE, one draw"
BOUND = f"IWAE-{K} bound"
OBJECTIVES = {"IWAE": inf.ImportanceWeighted, "DReG": inf.DReG}
REPEATS, ROUNDS, NUM_DATA = 60, 6, 32


def train(objective: Any, ds: Dataset, run: Run) -> Any:
    """784-200-200-50, tanh; Adam 3e-4 in batches of 32, the decoder started at the data's mean."""
    vae = run.begun(
        start_at_the_mean(pv.VAE(ds.event_shape, latent_dim=50, network=TANH, seed=run.seed), ds.train.x)
    )
    run.fit(vae, ds, elbo=objective(), batch_size=BATCH, lr=3e-4)
    return vae


def score(pair: Any, test: Split, seed: int) -> Scores:
    """The trained bound, log p(x) and active units."""
    return Scores(
        {BOUND: bound(pair, test, seed, K), NLL: negative_log_likelihood(pair, test, seed)},
        {"active units": active_units(pair, test, seed)},
    )


def signal_to_noise(pairs: Mapping[str, Any], ds: Dataset, seed: int) -> Mapping[str, Any]:
    """The ratio of the guide's gradient by both estimators, at the weights that IWAE trained, in several rounds."""
    vae = pairs["IWAE"]
    device = next(iter(vae.model.parameters())).device
    groups = {"guide": list(vae.guide.parameters()), "model": list(vae.model.parameters())}
    rounds: list[dict[str, float]] = []
    for turn in range(ROUNDS):
        x = ds.test.x[turn * NUM_DATA : (turn + 1) * NUM_DATA].to(device)
        table = pv.compare_estimators(
            vae, x, ["iwae", "dreg"], REPEATS, num_particles=K, parameters=groups, seed=seed + turn, progress=False
        )
        ratio = table["snr"].sel(group="guide")
        rounds.append({"iwae": ratio.sel(estimator="iwae").item(), "dreg": ratio.sel(estimator="dreg").item()})
    torch.set_grad_enabled(True)
    log_ratio = np.array([math.log(each["dreg"] / each["iwae"]) for each in rounds])
    error = log_ratio.std(ddof=1) / math.sqrt(ROUNDS)
    return {
        "signal-to-noise ratio of the guide's gradient": {
            name: round(float(np.mean([each[name] for each in rounds])), 4) for name in ("iwae", "dreg")
        },
        "log of DReG's over IWAE's": round(float(log_ratio.mean()), 4),
        "log of DReG's over IWAE's_stderr": round(float(error), 4),
        "DReG over IWAE in the ratio": "reproduced" if log_ratio.mean() > 2 * error else "not significant",
        "of": f"K={K}, {ROUNDS} rounds of {NUM_DATA} test images with {REPEATS} repeats each, at IWAE's weights",
    }


TUCKER_2019 = Table(
    name="tucker-2019",
    paper="Tucker, Lawson, Gu & Maddison 2019, figures on MNIST (no table)",
    passes=5e6 * BATCH / 60_000,
    rows=tuple(
        Row(label, functools.partial(train, functools.partial(objective, num_particles=K)), start=START)
        for label, objective in OBJECTIVES.items()
    ),
    score=score,
    comparisons=(Comparison("DReG over IWAE in the trained bound", BOUND, "DReG", "IWAE"),),
    differs=("the encoder sees 0 and 1, not centred", "the guide's scale is the softplus without a shift"),
    beside=signal_to_noise,
    starts={START: functools.partial(train, inf.MonteCarloKL)},
)
