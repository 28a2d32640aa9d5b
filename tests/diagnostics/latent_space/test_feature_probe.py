"""The probe finds what is linear in the labels, and no more than chance in noise."""

import numpy as np
import pytest
import torch

from ppl_vae.diagnostics import run_feature_probe
from ppl_vae.errors import DataError


@pytest.fixture(scope="module")
def labelled():
    """Two classes, unit Gaussians a distance of 2 apart in the first of five coordinates; and pure noise."""
    generator = torch.Generator().manual_seed(0)
    y, y_test = (torch.randint(2, (n,), generator=generator) for n in (400, 4000))

    def drawn(labels, distance):
        x = torch.randn(len(labels), 5, generator=generator)
        x[:, 0] += distance * labels
        return x

    features = {"apart": (drawn(y, 2.0), drawn(y_test, 2.0)), "noise": (drawn(y, 0.0), drawn(y_test, 0.0))}
    return features, y, y_test


@pytest.mark.slow
def test_accuracy_nears_that_of_the_best_rule_and_chance_in_noise(labelled):
    """The best rule on two unit Gaussians a distance of 2 apart is right with probability Phi(1) = 0.8413."""
    table = run_feature_probe(*labelled, num_labels=(10, 300), num_subsets=10)
    best = torch.special.ndtr(torch.tensor(1.0)).item()
    held_out = (best * (1 - best) / 4000) ** 0.5
    at_most = table["accuracy"].sel(features="apart", num_labels=300).item()
    assert best - 0.015 - 4 * held_out < at_most < best + 4 * held_out
    chance = table.sel(features="noise", num_labels=300)
    assert abs(chance["accuracy"].item() - 0.5) < 4 * (chance["stderr"].item() ** 2 + 0.25 / 4000) ** 0.5


@pytest.mark.slow
def test_more_labels_help_and_errors_are_those_of_the_mean_over_subsets(labelled):
    table = run_feature_probe(*labelled, num_labels=(10, 300), num_subsets=10)
    few, many = table["single"].sel(features="apart").to_numpy()
    gain = many - few
    assert gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(10)
    assert table["stderr"].sel(features="apart", num_labels=10).item() == pytest.approx(
        few.std(ddof=1) / np.sqrt(10)
    )


def test_the_scale_of_a_feature_does_not_count(labelled):
    features, y, y_test = labelled
    train, test = features["apart"]
    tables = [
        run_feature_probe({"x": (c * train, c * test)}, y, y_test, num_labels=(30,), num_subsets=3)
        for c in (1.0, 1000.0)
    ]
    np.testing.assert_allclose(tables[0]["single"], tables[1]["single"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_labels": (1000,)}, "num_labels: expected numbers from 2 to 400, found 1000"),
        ({"features": {"short": (torch.zeros(3, 1), torch.zeros(4000, 1))}}, "features 'short': expected 400 and"),
        ({"features": {}}, "features: expected at least one"),
        ({"y": torch.zeros(400, dtype=torch.int64)}, "y: expected two classes or more"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(labelled, change, message):
    features, y, y_test = labelled
    with pytest.raises(DataError, match=message):
        run_feature_probe(**{"features": features, "y": y, "y_test": y_test} | change)


def test_units_and_offsets_of_features_do_not_matter(labelled):
    """Features of 1e-8 were left as they are, and those about 1e5 were not centred: both were at chance."""
    (features, y, y_test), moved = labelled, {}
    for name, scale, offset in (("as they are", 1.0, 0.0), ("small", 1e-8, 0.0), ("far off", 1.0, 1e5)):
        moved[name] = tuple(scale * part.double() + offset for part in features["apart"])
    accuracy = run_feature_probe(moved, y, y_test, num_labels=(100,), num_subsets=2)["accuracy"].to_numpy()
    np.testing.assert_allclose(accuracy, accuracy[:1].repeat(3, 0), atol=1e-3)
    assert accuracy.min() > 0.75


def test_a_feature_that_does_not_vary_tells_nothing(labelled):
    (train, test), (y, y_test) = labelled[0]["apart"], labelled[1:]
    still = tuple(torch.cat([part, torch.full((len(part), 1), 0.1)], 1) for part in (train, test))
    table = run_feature_probe({"five": (train, test), "six": still}, y, y_test, num_labels=(100,), num_subsets=2)
    np.testing.assert_allclose(*table["accuracy"].to_numpy(), atol=1e-3)
