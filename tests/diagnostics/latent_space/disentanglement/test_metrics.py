"""Codes of known worth, and every score computed anew by scikit-learn's and SciPy's primitives."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score, roc_auc_score
from sklearn.svm import LinearSVC

from ppl_vae.diagnostics.latent_space.disentanglement.activity import active_dimensions, duplicates
from ppl_vae.diagnostics.latent_space.disentanglement.batches import sharing_batches, sharing_pairs
from ppl_vae.diagnostics.latent_space.disentanglement.coded import Coded
from ppl_vae.diagnostics.latent_space.disentanglement.dci import dci, dci_importance, disentanglement
from ppl_vae.diagnostics.latent_space.disentanglement.factors import factor_levels
from ppl_vae.diagnostics.latent_space.disentanglement.metrics import METRICS
from ppl_vae.diagnostics.latent_space.disentanglement.mutual_information import binned
from ppl_vae.diagnostics.latent_space.disentanglement.udr import udr
from ppl_vae.errors import DataError, ModelError

N = 5000


@pytest.fixture(scope="module")
def factors():
    rng = np.random.default_rng(0)
    return factor_levels(np.stack([rng.integers(levels, size=N) for levels in (2, 3, 5)], 1))


@pytest.fixture(scope="module")
def identity(factors):
    levels = factors.levels.astype(float)
    return Coded((levels - levels.mean(0)) / levels.std(0), factors, votes=1500)


@pytest.fixture(scope="module")
def rotated(identity, factors):
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    return Coded(identity.codes @ rotation, factors, votes=1500)


@pytest.fixture(scope="module")
def noise(factors):
    return Coded(np.random.default_rng(2).normal(size=(N, 3)), factors, votes=1500)


def score(name, coded):
    scores = METRICS[name](coded)
    return next(iter(scores.values()))


@pytest.mark.slow
def test_the_identity_has_the_published_values(identity):
    """MIG .9986 and SAP .585 are not 1: a histogram has a bias, and one line does not set an inner level apart."""
    assert score("mig", identity) == pytest.approx(0.9986, abs=5e-4)
    assert score("sap", identity) == pytest.approx(0.585, abs=0.01)
    assert list(dci(identity).values()) == pytest.approx([1, 1, 1], abs=1e-6)
    for name in ("modularity", "factor-vae", "beta-vae", "irs"):
        assert score(name, identity) == pytest.approx(1, abs=1e-3), name
    assert score("gaussian-tc", identity) < 2e-3


@pytest.mark.slow
def test_noise_is_worth_what_chance_gives(noise):
    """The bias of a plug-in mutual information is about (bins - 1)(levels - 1) / (2N) nats."""
    assert score("mig", noise) == pytest.approx(0.0004, abs=5e-4)
    assert score("sap", noise) < 0.015
    assert dci(noise)["dci disentanglement"] < 0.02
    assert score("factor-vae", noise) == pytest.approx(1 / 3, abs=4 * np.sqrt(2 / 9 / 500))
    assert score("beta-vae", noise) == pytest.approx(1 / 3, abs=4 * np.sqrt(2 / 9 / 500))
    assert score("explicitness", noise) == pytest.approx(0.5, abs=0.02)
    expected = 19 * np.array([1, 2, 4]) / (2 * N)
    np.testing.assert_allclose(noise.information.mean(0), expected, rtol=0.4)


@pytest.mark.slow
def test_a_rotation_mixes_the_codes_and_keeps_what_a_linear_reader_finds(identity, rotated):
    for name in ("mig", "sap", "modularity", "irs"):
        assert score(name, rotated) < score(name, identity) - 0.1, name
    assert dci(rotated)["dci disentanglement"] < 0.5
    assert score("explicitness", rotated) == pytest.approx(score("explicitness", identity), abs=2e-3)
    assert score("gaussian-tc", rotated) < 2e-3


def test_information_is_that_of_scikit_learn(rotated):
    numbers = binned(rotated.codes, 20)
    wanted = [[mutual_info_score(b, v) for v in rotated.factors.levels.T] for b in numbers.T]
    np.testing.assert_allclose(rotated.information, wanted, atol=1e-12)
    for code, column in zip(rotated.codes.T, numbers.T, strict=True):
        np.testing.assert_array_equal(np.bincount(column, minlength=20), np.histogram(code, 20)[0])
    entropy = np.array([mutual_info_score(v, v) for v in rotated.factors.levels.T])
    best = np.sort(wanted, 0)[::-1]
    assert score("mig", rotated) == pytest.approx(np.mean((best[0] - best[1]) / entropy))
    squares = np.square(wanted)
    others = (squares.sum(1) - squares.max(1)) / squares.max(1) / 2
    assert score("modularity", rotated) == pytest.approx(np.mean(1 - others))


def test_equal_counts_make_equal_bins(noise):
    assert set(np.bincount(binned(noise.codes, 20, "count")[:, 0])) == {N // 20}
    with pytest.raises(ModelError, match="unknown binning 'widht'; did you mean 'width'"):
        binned(noise.codes, 20, "widht")


@pytest.mark.slow
def test_sap_does_not_see_where_codes_lie(identity):
    """Of codes about 5 it was .34 where .59 is right: the machine's penalty takes in its intercept."""
    some = np.arange(600)
    codes, factors = identity.codes[some], identity.factors.take(some)
    moved = [score("sap", Coded(codes + offset, factors)) for offset in (0.0, 5.0, 100.0)]
    np.testing.assert_allclose(moved, moved[0], atol=2e-3)


def test_sap_and_explicitness_are_those_of_scikit_learn(rotated):
    (train, test), levels = rotated.halves, rotated.factors.levels
    accuracy, areas = np.zeros((3, 3)), []
    for j, v in enumerate(levels.T):
        for i in range(3):
            machine = LinearSVC(C=0.01, class_weight="balanced", random_state=0)
            z = rotated.codes[:, [i]]
            accuracy[i, j] = machine.fit(z[train], v[train]).score(z[test], v[test])
        for level in np.unique(v):
            classifier = LogisticRegression().fit(rotated.codes[train], v[train] == level)
            areas.append(roc_auc_score(v[test] == level, classifier.decision_function(rotated.codes[test])))
    best = np.sort(accuracy, 0)[::-1]
    assert score("sap", rotated) == pytest.approx(np.mean(best[0] - best[1]), abs=2e-3)
    assert score("explicitness", rotated) == pytest.approx(np.mean(areas), abs=2e-3)


def test_a_continuous_factor_is_read_by_its_squared_correlation():
    rng = np.random.default_rng(3)
    v = rng.normal(size=(2000, 2))
    factors = factor_levels(v)
    assert factors.continuous.all()
    assert set(np.bincount(factors.levels[:, 0])) == {100}
    codes = v + 0.5 * rng.normal(size=v.shape)
    squares = np.corrcoef(codes.T, v.T)[:2, 2:] ** 2
    best = np.sort(squares, 0)[::-1]
    assert score("sap", Coded(codes, factors)) == pytest.approx(np.mean(best[0] - best[1]))


@pytest.mark.slow
def test_boosted_trees_have_the_published_values(identity, rotated, noise, factors):
    """The learner of disentanglement_lib: D = C = 1 of the identity, .010 and .016 of noise."""
    boosted = {name: Coded(c.codes, factors, learner="gradient-boosting") for name, c in
               (("identity", identity), ("rotated", rotated), ("noise", noise))}  # fmt: skip
    assert list(dci(boosted["identity"]).values()) == pytest.approx([1, 1, 1], abs=1e-4)
    assert 0.1 < dci(boosted["rotated"])["dci disentanglement"] < 0.5
    assert dci(boosted["noise"])["dci disentanglement"] < 0.03
    assert dci(boosted["noise"])["dci completeness"] < 0.04
    importance, accuracy = dci_importance(boosted["rotated"])
    (train, test), v = rotated.halves, factors.levels[:, 2]
    trees = GradientBoostingClassifier(random_state=0).fit(rotated.codes[train], v[train])
    np.testing.assert_allclose(importance[:, 2], trees.feature_importances_)
    assert accuracy[2] == trees.score(rotated.codes[test], v[test])


def test_the_entropies_of_importances_by_hand():
    """Rows (1, 0) and (1, 1): weights 1/3 and 2/3, of which the second is worth nothing."""
    importance = np.array([[1.0, 0.0], [1.0, 1.0]])
    assert disentanglement(importance) == pytest.approx(1 / 3)
    assert disentanglement(np.eye(3)) == 1
    assert disentanglement(np.ones((3, 4))) == pytest.approx(0)


def test_batches_and_pairs_share_one_factor_and_no_other(factors):
    rng = np.random.default_rng(0)
    for shared, rows in sharing_batches(factors, 300, 64, rng):
        levels = factors.levels[rows]
        constant = (levels == levels[:, :1]).all(1)
        np.testing.assert_array_equal(constant, np.eye(3, dtype=bool)[shared])
    for shared, one, other in sharing_pairs(factors, 300, 64, rng):
        same = factors.levels[one] == factors.levels[other]
        np.testing.assert_array_equal(same.all(1), np.eye(3, dtype=bool)[shared])
        assert (factors.levels[one, shared[:, None]].std(1) > 0).all()


def test_the_total_correlation_of_a_gaussian_is_its_relative_entropy(rotated):
    rng = np.random.default_rng(0)
    covariance = np.array([[1.0, 0.8, 0.0], [0.8, 2.0, 0.3], [0.0, 0.3, 1.0]])
    z = rng.multivariate_normal(np.zeros(3), covariance, size=200_000)
    joint, alone = multivariate_normal(np.zeros(3), covariance), np.sqrt(np.diag(covariance))
    exact = -joint.entropy() + sum(multivariate_normal(0, s**2).entropy() for s in alone)
    few = factor_levels(rng.integers(2, size=len(z))[:, None])
    assert score("gaussian-tc", Coded(z, few)) == pytest.approx(exact, rel=0.01)
    assert score("gaussian-tc", Coded(np.repeat(z[:, :1], 2, 1), few)) > 10


def test_robustness_by_hand():
    """A code with its factor's value, plus or minus 1/4 in each level: 1 - 1/4 over the largest deviation, 3/4."""
    levels = np.repeat([0, 1], 400)
    codes = (levels + np.tile([-0.25, 0.25], 400))[:, None]
    assert score("irs", Coded(codes, factor_levels(levels[:, None]))) == pytest.approx(1 - 0.25 / 0.75)


def test_inactive_and_repeated_dimensions_are_known_by_a_stated_rule(identity):
    codes = np.concatenate([identity.codes, 1e-6 * identity.codes[:, :1], -2 * identity.codes[:, 1:2]], 1)
    active = active_dimensions(codes)
    assert active.tolist() == [True, True, True, False, True]
    assert duplicates(codes, active).tolist() == [-1, -1, -1, -1, 1]


def test_runs_that_agree_up_to_order_and_sign_are_ranked_first():
    """A lasso shrinks the weight of a standardised code by its penalty: UDR of equal runs is 1 - 0.1."""
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(3000, 3))
    codes = np.linalg.qr(codes - codes.mean(0))[0]
    same = udr([codes, -codes[:, ::-1], 3 * codes])
    np.testing.assert_allclose(same, 0.9, atol=1e-6)
    mixed = codes @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert udr([codes, codes, mixed])[2] < 0.6
    assert udr([codes, rng.normal(size=(3000, 3))]).max() == 0


@pytest.mark.parametrize("name", METRICS)
def test_no_active_code_is_worth_nothing_and_not_an_error(name, factors):
    scores = METRICS[name](Coded(np.zeros((N, 0)), factors, votes=60))
    assert all(0 <= value <= 0.52 for value in scores.values())


def test_factors_are_judged():
    with pytest.raises(DataError, match=r"factors: expected numbers \[N, F\], got shape \[3\]"):
        factor_levels(np.zeros(3))
    with pytest.raises(DataError, match="factors: 1 of 4 values are NaN"):
        factor_levels([[1, 2], [np.nan, 3]])
    with pytest.raises(DataError, match="factor_names: expected 2 names"):
        factor_levels([[1, 2], [2, 3]], ("a",))
    with pytest.raises(DataError, match="every factor has one value"):
        factor_levels([[1], [1]])
    assert factor_levels([[1, 5], [2, 5]], ("a", "b")).names == ("a",)
