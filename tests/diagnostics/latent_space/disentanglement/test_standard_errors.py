"""The standard error over samples covers, in up to 200 repeats of an encoder that mixes factors and has noise."""

from dataclasses import dataclass

import numpy as np
import pytest

from ppl_vae.diagnostics.latent_space.disentanglement.chance import stderr_over_samples
from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded
from ppl_vae.diagnostics.latent_space.disentanglement.factors import factor_levels
from ppl_vae.diagnostics.latent_space.disentanglement.metrics import METRICS

MIXING = np.array([[1.0, 0.3, 0.0, 0.0], [0.0, 1.0, 0.0, 0.6], [0.0, 0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class Repeats:
    """How often, of how many data, with how much noise beside 0.4: so much that no score stands at 1."""

    number: int
    num_data: int = 1000
    noise: float = 0.0
    votes: int = 1500

    def coded(self, seed):
        rng, more = np.random.default_rng(seed), np.random.default_rng(10_000 + seed)
        levels = np.stack([rng.integers(k, size=self.num_data) for k in (3, 4, 5)], 1)
        scaled = (levels - levels.mean(0)) / levels.std(0)
        codes = scaled @ MIXING + 0.4 * rng.normal(size=(self.num_data, 4))
        codes = codes + self.noise * more.normal(size=codes.shape)
        return Coded(codes, factor_levels(levels), votes=self.votes, seed=seed)


REPEATS = {
    "mig": Repeats(200),
    "modularity": Repeats(200),
    "irs": Repeats(200),
    "gaussian-tc": Repeats(200),
    "factor-vae": Repeats(200, noise=1.5, votes=600),
    "beta-vae": Repeats(200, noise=2.5, votes=600),
    # A repeat of these fits scores of learners.
    "sap": Repeats(60, 2000),
    "explicitness": Repeats(40, 2000),
    "dci": Repeats(30, 2000),
}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", METRICS)
def test_the_standard_error_covers(name):
    """Of 100 intervals of a t with 9 degrees 95 hold the repeats' mean, within three errors of a binomial.

    From 200 repeats it must not be more either; from fewer the error is at least not far too wide.
    """
    repeats = REPEATS[name]
    drawn = [repeats.coded(seed) for seed in range(repeats.number)]
    scores = [METRICS[name](coded) for coded in drawn]
    errors = [stderr_over_samples(METRICS[name], coded) for coded in drawn]
    for score in scores[0]:
        values = np.array([each[score] for each in scores])
        stated = np.array([each[score] for each in errors])
        spread = values.std(ddof=1)
        ratio = np.sqrt(np.mean(stated**2)) / max(spread, 1e-12)
        covered = np.mean(np.abs(values - values.mean()) <= 2.262 * stated)
        bound = 3 * np.sqrt(0.95 * 0.05 / repeats.number)
        assert covered >= 0.95 - bound, (score, covered, ratio)
        if repeats.number == 200:
            assert covered <= 0.95 + bound, (score, covered, ratio)
        assert ratio < 2.5 or spread < 0.005, (score, covered, ratio, spread)
