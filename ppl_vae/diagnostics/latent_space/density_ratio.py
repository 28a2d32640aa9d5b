r"""The aggregate posterior beside the prior: their density ratio by a classifier, on draws held out from it.

    r(z) = log q(z) - log p(z),      q(z) = E_x q(z|x)

One draw of q(z|x) for every datum stands against as many draws of the prior. The logit of a classifier that tells
the two kinds apart estimates r (Sugiyama, Suzuki & Kanamori 2012, section 2.3, https://doi.org/10.1017/CBO9781139035613).
The classifier is a logistic regression on z, its squares and products, and bumps about some of the draws: two
Gaussians, whose ratio is quadratic, are within its reach, and clusters are too. Its held-out accuracy is at most
that of the best rule, 1/2 + TV/2 with the total variation TV, and

    KL(q || p) >= E_q r - E_p e^r + 1          (Nguyen, Wainwright & Jordan 2010, https://arxiv.org/abs/0809.0853)

holds for any r that does not know the draws. So both numbers are lower bounds, in expectation.

Every draw is judged by a classifier that the other folds trained, so that the accuracies of folds move together.
Where there is no difference the variance of their mean is about twice that of as many independent draws, and less
where there is one. The stated error of the accuracy is the one of twice that variance.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.given import admitted
from ppl_vae.diagnostics.verdict import Verdict, level_of, require_finite, require_table, share_stderr
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.at_global import at_global_draws
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import data_per_chunk, evaluating
from ppl_vae.inference.pair.latent_coordinates import coordinates
from ppl_vae.inference.pair.masked_latents import require_unmasked
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.simulation import simulate
from ppl_vae.inference.pair.validity import require_numbers
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword

DENSITY_RATIO_STREAM = 67
#: The total variation that draws may show.
GOOD, POOR = 0.1, 0.5
#: Where the aggregate posterior has less than this share of the prior's density, there is a hole.
HOLE = 0.1
LEAST_DATA, BUMPS, MOST_CROSSED = 20, 100, 20
# The error of an accuracy over folds in that of as many independent draws: see above.
OVER_FOLDS = math.sqrt(2)
INSTEAD = "there is no code of a datum"
SOURCES = ("aggregate posterior", "prior")


@by_keyword("seed")
@torch.no_grad()
def run_density_ratio(pair: PairLike, x: Data, folds: int = 5, *, seed: int = 0) -> xr.Dataset:
    """Estimate the log density ratio of aggregate posterior and prior, at draws of both.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs; of several latent sites the
            draws are laid side by side, and global ones are held at a draw of the guide's.
        x: [N, *event_shape], at least 20; the aggregate posterior is that of the data's population.
        folds: of the cross-fitting: every ratio is by a classifier that did not see its draw.
        seed: of draws and folds.

    Returns:
        Over "source" (aggregate posterior, prior) and "draw": ``log_ratio``, nats, and the draws ``z`` over
        "latent" too. Scalars, each with ``..._stderr`` over draws: ``accuracy`` of telling them apart;
        ``total_variation``, 2 accuracy - 1, and ``kl``, nats, which are lower bounds in expectation; ``holes``, the
        share of prior draws where the aggregate posterior has less than a tenth of the prior's density.

    Raises:
        ModelError: the pair or a setting is refused, or the model has no latent site.
        DataError: fewer than 20 data, or draws are NaN or infinite.
    """
    folds = integer("folds", folds, least=2)
    given = admitted(pair, x, least=LEAST_DATA)
    held = at_global_draws(given, 1, derived_seed(seed, DENSITY_RATIO_STREAM, 2), INSTEAD)
    z = np.stack(_draws(held[0] if held else given, seed))
    if not np.isfinite(z).all():
        raise DataError("draws of the aggregate posterior or the prior are NaN or infinite")
    ratio = _cross_fitted(z, min(folds, len(given)), derived_seed(seed, DENSITY_RATIO_STREAM, 1))
    variables = {"log_ratio": (("source", "draw"), ratio), "z": (("source", "draw", "latent"), z)}
    table = xr.Dataset(variables, {"source": list(SOURCES)})
    for name, (value, error) in _summaries(*ratio).items():
        table[name], table[f"{name}_stderr"] = value, error
    return table.assign_attrs(num_data=len(given), folds=folds, hole=HOLE, seed=seed, units="nats")


def _draws(given: Conditioned, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A draw of q(z|x) for every datum, and one of p(z): [N, U] each."""
    ours, theirs = [], []
    with evaluating(*given.programs, seed=derived_seed(seed, DENSITY_RATIO_STREAM), device=given.x.device):
        for part in given.split(data_per_chunk(given.x, 1)):
            terms = run_terms(*part.programs, part.batch)
            require_unmasked(terms)
            require_numbers(terms)
            names = [name for name, site in terms.sites.items() if site.p is not None]
            if not names:
                raise ModelError("the model has no latent site: there is no aggregate posterior")
            prior = simulate(given.programs[0], *part.batch, put_back=False).values
            ours.append(torch.cat([coordinates(terms.sites[name].value)[0] for name in names], -1))
            theirs.append(torch.cat([prior[name].reshape(len(part.x), -1) for name in names], -1))
    posterior, prior_draws = (torch.cat(parts).double().cpu().numpy() for parts in (ours, theirs))
    return posterior, prior_draws


def _cross_fitted(z: NDArray[np.float64], folds: int, seed: int) -> NDArray[np.float64]:
    """The held-out logits of draws [2, N, U]: [2, N]."""
    ratio = np.empty(z.shape[:2])
    fold = np.random.default_rng(seed).permutation(z.shape[1]) % folds
    for index in range(folds):
        train, test = z[:, fold != index], z[:, fold == index]
        kinds = np.repeat([1, 0], train.shape[1])
        fitted = _classifier(z.shape[2], min(BUMPS, train.shape[1]), seed).fit(np.concatenate(train), kinds)
        ratio[:, fold == index] = fitted.decision_function(np.concatenate(test)).reshape(2, -1)
    return ratio


class _Classifier(Protocol):
    """A classifier of scikit-learn's with a logit."""

    def fit(self, X: NDArray[np.float64], y: NDArray[np.int64]) -> _Classifier: ...

    def decision_function(self, X: NDArray[np.float64]) -> NDArray[np.float64]: ...


def _classifier(width: int, num_bumps: int, seed: int) -> _Classifier:
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler

    # Products of many dimensions are too many for the draws there are.
    crossed = width <= MOST_CROSSED
    curved = PolynomialFeatures(2, include_bias=False) if crossed else FunctionTransformer(_with_squares)
    bumps = Nystroem(gamma=0.5 / width, n_components=num_bumps, random_state=seed % 2**32)
    classifier: _Classifier = make_pipeline(
        StandardScaler(), make_union(curved, bumps), StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)
    )
    return classifier


def _with_squares(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([z, z**2], 1)


def _summaries(posterior: NDArray[np.float64], prior: NDArray[np.float64]) -> dict[str, tuple[float, float]]:
    """The numbers of log ratios [N] at draws of either kind, with their standard errors."""
    count = len(posterior)
    accuracy = float(np.mean([(posterior > 0).mean(), (prior <= 0).mean()]))
    error = OVER_FOLDS * share_stderr(accuracy, 2 * count)
    tilted = np.exp(prior)
    kl = float(posterior.mean() - tilted.mean() + 1)
    holes = float((prior < math.log(HOLE)).mean())
    return {
        "accuracy": (accuracy, error),
        "total_variation": (2 * accuracy - 1, 2 * error),
        "kl": (kl, math.hypot(posterior.std(ddof=1), tilted.std(ddof=1)) / math.sqrt(count)),
        "holes": (holes, share_stderr(holes, count)),
    }


def check_density_ratio(numbers: xr.Dataset) -> Verdict:
    """Judge how far draws of the prior can be told from codes of data, by the total variation that is shown.

    Up to 0.1 is "good": no rule that was tried tells them apart in many more than half of the cases. Over 0.5 is
    "bad". A classifier that sees no difference proves none.

    Raises:
        DataError: numbers are not what ``run_density_ratio`` gave, or one is NaN or infinite.
    """
    names = ("total_variation", "total_variation_stderr", "holes", "kl", "kl_stderr")
    require_table("numbers", numbers, "run_density_ratio", (*names, "accuracy"))
    for name in names:
        require_finite("numbers", name, numbers[name].values)
    variation, error = numbers["total_variation"].item(), numbers["total_variation_stderr"].item()
    level = level_of(variation, error, GOOD, POOR)
    words = (
        f"A classifier tells codes of data from draws of the prior with accuracy {numbers['accuracy'].item():.3f}; "
        f"{numbers['holes'].item():.1%} of the prior lie where the codes have less than a tenth of its density."
    )
    poor = level in ("bad", "doubtful")
    advice = "Learn the prior (prior='vamp' or 'flow'), or fit one to the codes." if poor else ""
    threshold = f"total variation that a classifier shows: {GOOD:g} and {POOR:g}"
    return Verdict("aggregate posterior against prior", level, variation, error, "", threshold, words, advice)
