"""Latent arithmetic before a judge: images whose attributes are counted by hand, and a trained VAE of faces."""

import pytest
import torch

import ppl_vae as pv
from ppl_vae.diagnostics import check_arithmetic, fit_attribute_classifier, run_arithmetic
from ppl_vae.errors import DataError
from ppl_vae.models.latent_space.arithmetic import attribute_vector, decode_along

NAMES = ("left", "right")
ALPHAS = (-1.0, 0.0, 1.0)


def halves(left, right):
    """Images 2x2 whose left and right halves are as bright as given: [*batch, 1, 2, 2]."""
    return torch.stack([left, right], -1)[..., None, None, :].expand(*left.shape, 1, 2, 2)


def brightness(images):
    """The probability of either attribute is the brightness of its half."""
    return images[:, 0].mean(1)


def moved_images(num, num_left, num_right):
    """At alpha = 1 the left half of the first ``num_left`` of ``num`` is bright, the right of ``num_right``."""
    index = torch.arange(num)[:, None].expand(num, 3)
    at_one = torch.tensor([False, False, True]).expand(num, 3)
    left, right = (((index < count) & at_one).double() for count in (num_left, num_right))
    return halves(left, right)


def test_changed_shares_and_their_errors_are_counted():
    table = run_arithmetic(moved_images(20, 15, 4), ALPHAS, brightness, NAMES, "left")
    assert table["changed"].sel(alpha=0).to_numpy().tolist() == [0, 0]
    assert table["changed"].sel(alpha=-1).to_numpy().tolist() == [0, 0]
    assert table["changed"].sel(alpha=1).to_numpy().tolist() == pytest.approx([0.75, 0.2])
    assert table["others"].to_numpy().tolist() == pytest.approx([0, 0, 0.2])
    assert float(table["changed_stderr"].sel(alpha=1, attribute="left")) == pytest.approx(
        (16 * 6 / 22**2 / 20) ** 0.5
    )
    assert float(table["changed_stderr"].sel(alpha=0, attribute="left")) == pytest.approx(
        (1 * 21 / 22**2 / 20) ** 0.5
    )
    assert float(table["probability"].sel(alpha=1, attribute="right")) == pytest.approx(0.2)
    assert table.attrs == {"moved": "left", "num_data": 20}


def test_what_a_reconstruction_has_lost_is_no_move():
    """An attribute that is judged alike at every alpha has not changed, whatever the truth is."""
    images = halves(torch.zeros(5, 3).double(), torch.ones(5, 3).double())
    table = run_arithmetic(images, ALPHAS, brightness, NAMES, "left")
    assert float(table["changed"].max()) == 0
    assert float(table["probability"].sel(attribute="right").min()) == 1


@pytest.mark.parametrize(
    ("count", "num_left", "num_right", "level"),
    [
        (20, 19, 1, "good"),
        (20, 19, 4, "unknown"),
        (100, 95, 25, "doubtful"),
        (20, 15, 0, "unknown"),
        (100, 75, 0, "doubtful"),
        (20, 9, 0, "doubtful"),
        (20, 3, 0, "bad"),
    ],
)
def test_the_verdict_leans_the_right_way(count, num_left, num_right, level):
    """A share of 0.45 of 20 data is within two standard errors, 0.22, of a half, and one of 0.2 of a tenth."""
    verdict = check_arithmetic(
        run_arithmetic(moved_images(count, num_left, num_right), ALPHAS, brightness, NAMES, "left")
    )
    assert verdict.level == level
    assert verdict.value == pytest.approx(num_left / count)
    assert "'left' changed" in verdict.words
    assert (verdict.advice == "") == (level == "good")


def test_an_attribute_that_drags_another_along_is_bad():
    table = run_arithmetic(moved_images(200, 110, 150), ALPHAS, brightness, NAMES, "left")
    assert check_arithmetic(table).level == "bad"
    few = run_arithmetic(moved_images(20, 11, 12), ALPHAS, brightness, NAMES, "left")
    assert check_arithmetic(few).level == "doubtful"
    with pytest.raises(DataError, match=r"alpha: expected one of \[-1.0, 0.0, 1.0\], found 2"):
        check_arithmetic(table, alpha=2.0)
    with pytest.raises(DataError, match="expected what run_arithmetic returns"):
        check_arithmetic(table.drop_vars("changed"))


def test_what_does_not_fit_is_refused():
    images = moved_images(4, 2, 1)
    with pytest.raises(DataError, match="one alpha per step, found"):
        run_arithmetic(images, (0.0, 1.0), brightness, NAMES, "left")
    with pytest.raises(DataError, match="alphas: expected one that is 0"):
        run_arithmetic(images, (1.0, 2.0, 3.0), brightness, NAMES, "left")
    with pytest.raises(DataError, match="moved: expected one of at least two attributes"):
        run_arithmetic(images, ALPHAS, brightness, NAMES, "top")
    with pytest.raises(DataError, match=r"classifier: expected probabilities \[4, 2\], got shape \[4, 1, 2, 2\]"):
        run_arithmetic(images, ALPHAS, lambda x: x, NAMES, "left")
    with pytest.raises(DataError, match="classifier: expected probabilities"):
        run_arithmetic(images, ALPHAS, lambda x: brightness(x) + 1, NAMES, "left")


@pytest.fixture(scope="module")
def judge():
    """Faces of another seed than any that are judged, and the classifier they train."""
    ds = pv.load_dataset("faces", size=16, n=800, seed=7)
    return fit_attribute_classifier(ds.train.x, ds.train.factors[:, :4] > 0.5, ds.factor_names[:4]), ds


@pytest.mark.slow
def test_the_classifier_is_right_on_faces_it_has_not_seen(judge):
    classifier, ds = judge
    has = ds.test.factors[:, :4] > 0.5
    assert min(classifier.accuracy(ds.test.x, has).values()) > 0.9
    shuffled = has[torch.randperm(len(has), generator=torch.Generator().manual_seed(0))]
    assert max(classifier.accuracy(ds.test.x, shuffled).values()) < 0.75


@pytest.mark.slow
def test_a_classifier_of_one_attribute_is_the_same_kind(judge):
    _, ds = judge
    hat = ds.train.factors[:, 2:3] > 0.5
    single = fit_attribute_classifier(ds.train.x, hat, ["hat"])
    assert single(ds.test.x).shape == (len(ds.test), 1)
    assert single.accuracy(ds.test.x, ds.test.factors[:, 2:3] > 0.5)["hat"] > 0.9


def test_attributes_without_two_sides_have_no_classifier():
    x = torch.rand(6, 1, 4, 4)
    with pytest.raises(DataError, match="attribute 'hat': expected images with and without, found 6 of 6 with"):
        fit_attribute_classifier(x, torch.ones(6, 1, dtype=torch.bool), ["hat"])
    with pytest.raises(DataError, match=r"has: expected booleans \[6, 2\], found torch.float32 \[6, 1\]"):
        fit_attribute_classifier(x, torch.ones(6, 1), ["hat", "glasses"])


@pytest.mark.slow
def test_the_hat_of_faces_moves_and_a_random_direction_of_the_same_length_moves_nothing(judge):
    """The direction from means over data against a random one: the attribute moves in most data, or in few."""
    classifier, _ = judge
    ds = pv.load_dataset("faces", size=16, n=800)
    vae = pv.VAE(ds.event_shape, 12, network="mlp", likelihood={"name": "gaussian", "sigma": "optimal"})
    pv.fit(vae, ds, epochs=40, batch_size=64, lr=2e-3, device="cpu", progress=False)
    names = ds.factor_names[:4]
    with torch.no_grad():
        codes = vae.encode(ds.train.x).mean
        bare = vae.encode(ds.test.x[ds.test.factors[:, 2] < 0.5]).mean
    hat = attribute_vector(codes, ds.train.factors[:, 2] > 0.5)
    random = torch.randn(hat.shape, generator=torch.Generator().manual_seed(0))
    shares = []
    for direction in (hat, random / random.norm() * hat.norm()):
        alphas = torch.tensor([0.0, 1.5])
        table = run_arithmetic(decode_along(vae, bare, direction, alphas), alphas, classifier, names, "hat")
        shares.append(float(table["changed"].sel(alpha=1.5, attribute="hat")))
    assert shares[0] > 0.8
    assert shares[1] < 0.3


@pytest.mark.slow
def test_the_smile_of_faces_moves_and_nothing_else():
    """At one and a half smile vectors: a smile probability above 0.9, every other attribute flipped in under 5%."""
    other = pv.load_dataset("faces", size=24, n=2000, seed=7)
    names = other.factor_names[:4]
    classifier = fit_attribute_classifier(other.train.x, other.train.factors[:, :4] > 0.5, names)
    ds = pv.load_dataset("faces", size=24, n=2500)
    network = {"name": "mlp", "hidden": (300,)}
    vae = pv.VAE(ds.event_shape, 24, network=network, likelihood={"name": "gaussian", "sigma": "optimal"})
    pv.fit(vae, ds, epochs=50, batch_size=64, lr=1.5e-3, device="cpu", progress=False, num_threads=1)
    smile = attribute_vector(vae.encode(ds.train.x).mean, ds.train.factors[:, 0] > 0.5)
    serious = vae.encode(ds.test.x[ds.test.factors[:, 0] < 0.5]).mean
    alphas = torch.tensor([0.0, 1.5])
    table = run_arithmetic(decode_along(vae, serious, smile, alphas), alphas, classifier, names, "smiling")
    moved = table.sel(alpha=1.5)
    assert moved["probability"].sel(attribute="smiling") > 0.9
    assert moved["changed"].drop_sel(attribute="smiling").max() < 0.05
    assert check_arithmetic(table, alpha=1.5).level == "good"
