"""The standard error over samples covers, in up to 200 repeats of an encoder that mixes factors and has noise."""

import numpy as np
import pytest

from ppl_vae.diagnostics.latent_space.disentanglement.chance import stderr_over_samples
from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded
from ppl_vae.diagnostics.latent_space.disentanglement.factors import factor_levels
from ppl_vae.diagnostics.latent_space.disentanglement.metrics import METRICS

N = 2000
MIXING = np.array([[1.0, 0.3, 0.0, 0.0], [0.0, 1.0, 0.0, 0.6], [0.0, 0.0, 1.0, 0.0]])


def repeat(seed):
    rng = np.random.default_rng(seed)
    levels = np.stack([rng.integers(k, size=N) for k in (3, 4, 5)], 1)
    scaled = (levels - levels.mean(0)) / levels.std(0)
    codes = scaled @ MIXING + 0.4 * rng.normal(size=(N, 4))
    return Coded(codes, factor_levels(levels), votes=1500, seed=seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "repeats"),
    [("mig", 200), ("modularity", 200), ("irs", 200), ("gaussian-tc", 200), ("factor-vae", 100), ("beta-vae", 50),
     ("sap", 60), ("explicitness", 40), ("dci", 30)],
)  # fmt: skip
def test_the_standard_error_covers(name, repeats):
    """Of 100 intervals of a t with 9 degrees 95 hold the repeats' mean; the error is not far too wide."""
    drawn = [repeat(seed) for seed in range(repeats)]
    scores = [METRICS[name](coded) for coded in drawn]
    errors = [stderr_over_samples(METRICS[name], coded) for coded in drawn]
    for score in scores[0]:
        values = np.array([each[score] for each in scores])
        stated = np.array([each[score] for each in errors])
        spread = values.std(ddof=1)
        ratio = np.sqrt(np.mean(stated**2)) / max(spread, 1e-12)
        covered = np.mean(np.abs(values - values.mean()) <= 2.262 * stated)
        assert covered >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / repeats), (score, covered, ratio)
        assert ratio < 2.5 or spread < 0.005, (score, covered, ratio, spread)
