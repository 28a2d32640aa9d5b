r"""Judge q(g) of the global sites as a proposal for their posterior: k-hat of pseudo-marginal weights.

    log W(g) = log p(g) - log q(g) + log p(y | g) + sum_n log (1/K) sum_k w_nk(g)

(``inference.evidence.pseudo_marginal``). Their mean estimates p(x_1, ..., x_N), the evidence of the whole set. The
tail of W shows the misfit of q(g), of the local guides only what K draws of them leave as noise: its size is told,
and goes down as 1 / K. k-hat is judged as by Yao, Vehtari, Simpson & Gelman 2018, https://arxiv.org/abs/1802.02538.
"""

from __future__ import annotations

import math

import torch
import xarray as xr
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.given import admitted
from ppl_vae.diagnostics.importance.importance import LEAST_SAMPLES, ROUNDING, STREAM
from ppl_vae.diagnostics.verdict import Verdict, level_of, require_numbers, require_table
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.evidence.pareto import khat, tail_length, threshold
from ppl_vae.inference.evidence.pseudo_marginal import GlobalBlock, global_blocks
from ppl_vae.inference.evidence.weight_chunks import MEMORY_LIMIT
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.progress import watched
from ppl_vae.randomness import derived_seed

# From a tail index of 1 on the weights have no mean, and nothing is estimated by them.
BAD = 1.0
# Noise of the local draws, in nats, beside which a tail says little of q(g): this package's own.
MUCH_NOISE = 1.0
# Weights worth fewer draws than this come from a few draws alone.
LEAST_ESS = 5
DESCRIPTIONS = {
    "khat": "Pareto shape of the weights W; NaN where they are constant, inf where no tail can be fitted",
    "khat_stderr": "its asymptotic error (1 + k) / sqrt(M) from M draws in the tail",
    "exact": "the weights are constant to rounding: q(g) is the posterior",
    "ess": "effective sample size (sum W)^2 / sum W^2",
    "max_weight_share": "the largest weight over the sum of all",
    "log_evidence": "importance bound on log p(x_1, ..., x_N) of the whole set, nats",
    "log_evidence_stderr": "its error by the delta method, nats; too small where few draws have the weight",
    "elbo": "mean of log W, a bound on log p(x_1, ..., x_N), nats",
    "elbo_stderr": "its Monte-Carlo error, nats",
    "local_noise": "what K local draws leave of noise in log W, root mean square over g, nats; NaN where K is 1",
    "log_weight": "log W, nats",
}


def run_global_importance(
    pair: PairLike,
    x: Data,
    num_global: int = 1000,
    num_local: int = 20,
    *,
    memory_limit: int = MEMORY_LIMIT,
    progress: bool | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Weigh draws of the global sites against their posterior given all data.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs, with global sites.
        x: the data that q(g) was fitted to, all of them [N, *event_shape].
        num_global: S draws of the global sites, at least 25.
        num_local: K draws of the local sites at each.
        seed: of the draws; torch's global generators are left as they were.
        progress: show a progress bar; by default where a terminal or a notebook shows it to somebody.
        memory_limit: bytes that the activations of a pass may take, roughly; under Gaussian guides the
            weights do not depend on it but for rounding.

    Returns:
        Single numbers "khat", "khat_stderr", "exact", "ess", "max_weight_share", "log_evidence",
        "log_evidence_stderr", "elbo", "elbo_stderr" and "local_noise", and "log_weight" over "global_draw".
        Attributes: num_global, num_local, seed, num_data, threshold, and weights: "pseudo-marginal", or "joint"
        where the guide has no local draws given the global ones, so that all latents are weighed together.

    Raises:
        ModelError: the pair or an argument is refused, or there are no global sites; the site is named.
        DataError: x is empty, or the model's likelihood has no density for some value of it.
    """
    integer("num_global", num_global, least=LEAST_SAMPLES)
    given, source = admitted(pair, x), derived_seed(seed, STREAM)
    blocks: list[GlobalBlock] = []
    with watched(num_global, "draw", progress):
        for block in global_blocks(
            *given.programs, given.x, num_global, num_local, source, memory_limit, given.covariates
        ):
            blocks.append(block)
    joint = blocks[0].joint
    numbers = _numbers(blocks)
    attributes = {
        "num_global": num_global,
        "num_local": 1 if joint or not blocks[0].has_local else num_local,
        "seed": seed,
        "num_data": len(given),
        "threshold": threshold(num_global),
        "weights": "joint" if joint else "pseudo-marginal",
    }
    variables = {
        name: (("global_draw",) * value.dim(), value.cpu().numpy(), {"description": DESCRIPTIONS[name]})
        for name, value in numbers.items()
    }
    return xr.Dataset(variables, attrs=attributes)


def _numbers(blocks: list[GlobalBlock]) -> dict[str, Tensor]:
    log_weight = torch.cat([block.log_weight for block in blocks])
    noise = torch.cat([block.local_variance for block in blocks])
    # The rounding of a sum over data is that of its largest partial sums.
    magnitude = torch.cat([block.magnitude.sum(1) + block.global_magnitude for block in blocks]).mean()
    exact = log_weight.std() <= ROUNDING * blocks[0].eps * magnitude
    count = len(log_weight)
    shape = khat(log_weight.unsqueeze(1))[0]
    relative = (log_weight - log_weight.max()).exp()
    stderr = (1 + shape.clamp_min(0)) / math.sqrt(tail_length(count))
    return {
        "khat": torch.where(exact, torch.nan, shape),
        "khat_stderr": torch.where(exact, 0.0, stderr),
        "exact": exact,
        "ess": relative.sum().square() / relative.square().sum(),
        "max_weight_share": relative.max() / relative.sum(),
        "log_evidence": log_mean_exp(log_weight),
        "log_evidence_stderr": relative.std() / relative.mean() / math.sqrt(count),
        "elbo": log_weight.mean(),
        "elbo_stderr": log_weight.std() / math.sqrt(count),
        "local_noise": noise.mean().sqrt(),
        "log_weight": log_weight,
    }


def check_global_importance(numbers: xr.Dataset) -> Verdict:
    """Judge k-hat of the global guide.

    Args:
        numbers: of ``run_global_importance``.

    Returns:
        "good" where k-hat is below the threshold for this number of draws by two standard errors, "bad" where it
        is above 1 by as much, "unknown" where the error reaches across the threshold.

    Raises:
        DataError: the table is another, or a number is NaN or infinite where it must not be.
    """
    needed = ("khat", "khat_stderr", "exact", "ess", "local_noise")
    require_table("table", numbers, "run_global_importance", needed, ("global_draw",))
    require_numbers("table", numbers, but=("khat", "khat_stderr", "local_noise"))
    limit, count = float(numbers.attrs["threshold"]), numbers.sizes["global_draw"]
    value, error = float(numbers["khat"]), float(numbers["khat_stderr"])
    level = "good" if bool(numbers["exact"]) else level_of(value, error, limit, BAD)
    if math.isinf(value) and float(numbers["ess"]) < LEAST_ESS:
        level = "bad"
    return Verdict(
        "Pareto k-hat of global sites",
        level,
        value,
        error,
        threshold=f"k-hat at most min(1 - 1/log10 S, 0.7) = {limit:.2f} (Vehtari et al. 2024); bad above {BAD:g}, "
        "from where on weights have no mean",
        words=_words(numbers, count),
        advice=_advice(numbers, level),
    )


def _words(numbers: xr.Dataset, count: int) -> str:
    if bool(numbers["exact"]):
        return "The weights of the global sites are constant to rounding: the guide is the exact posterior."
    joint = numbers.attrs["weights"] == "joint"
    whose = "all latents together" if joint else "the global sites"
    said = (
        f"{count} draws of {whose} are worth {float(numbers['ess']):.0f}; log p of the "
        f"{numbers.attrs['num_data']} data is {float(numbers['log_evidence']):.2f} nats."
    )
    if joint:
        return f"{said} The guide has no local draws given the global ones, so that one k-hat stands for all sites."
    noise = float(numbers["local_noise"])
    if noise == 0:
        return said
    return f"{said} {numbers.attrs['num_local']} local draws of each datum leave a noise of {noise:.2g} nats."


def _advice(numbers: xr.Dataset, level: str) -> str:
    if level == "good":
        return ""
    if float(numbers["local_noise"]) > MUCH_NOISE:
        return "Take more local draws (num_local) first: their noise widens the tail beside the guide's own misfit."
    if level == "unknown":
        return "Take more draws (num_global)."
    return "Try a full-covariance guide of the global sites, other coordinates (non-centred), or a longer training."
