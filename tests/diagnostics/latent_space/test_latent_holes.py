"""Holes in the latent space: the numbers on images whose answer is known, and the point of it on the digits."""

import math

import pytest
import torch
from sklearn.neural_network import MLPClassifier

import ppl_vae as pv
from ppl_vae.diagnostics import check_latent_holes, run_latent_holes
from ppl_vae.diagnostics.latent_space.latent_holes import nearest_distance
from ppl_vae.errors import DataError
from ppl_vae.models import with_post_hoc_prior


def brightness(images):
    """Two classes, dark and bright: the probability of the second is the mean intensity."""
    p = images.flatten(1).mean(1)
    return torch.stack([1 - p, p], dim=1)


def constant(*values):
    return torch.tensor(values)[:, None, None, None].expand(-1, 1, 2, 2).clone()


def test_confidence_and_distance_of_images_by_hand():
    """Real images are nearly black or white; grey ones are 0.5 sure and far off, speckled ones far off alone."""
    train, held_out = constant(0.0, 1.0), constant(*[0.02] * 50, *[0.98] * 50)
    found = run_latent_holes(constant(0.02, 0.5, 0.9), train, held_out, brightness)
    torch.testing.assert_close(found.confidence, torch.tensor([0.98, 0.5, 0.9]))
    torch.testing.assert_close(found.distance, torch.tensor([0.02, 0.5, 0.1]))
    torch.testing.assert_close(found.real_confidence, torch.full((100,), 0.98))
    assert found.in_hole.tolist() == [False, True, True]
    summary = found.summary()
    assert summary["confidence"] == pytest.approx((0.98 + 0.5 + 0.9) / 3)
    assert summary["in_hole"] == pytest.approx(2 / 3)
    assert summary["in_hole_stderr"] == pytest.approx(math.sqrt(1 / 3 / 3))


def test_the_nearest_of_many_in_chunks_is_the_nearest():
    generator = torch.Generator().manual_seed(0)
    images, real = (torch.rand(n, 1, 3, 3, generator=generator) for n in (1100, 40))
    wanted = (images[:, None] - real).square().mean((2, 3, 4)).sqrt().amin(1)
    torch.testing.assert_close(nearest_distance(images, real), wanted, rtol=1e-4, atol=1e-4)
    assert nearest_distance(real, real).max() < 2e-3
    # Both moved alike: what single precision keeps of them is as far apart as it was.
    far, beside = images + 1e4, real + 1e4
    exact = torch.cdist(far.double().flatten(1), beside.double().flatten(1)).amin(1) / math.sqrt(real[0].numel())
    torch.testing.assert_close(nearest_distance(far, beside).double(), exact, rtol=1e-3, atol=1e-4)


def test_the_verdict_leans_the_right_way():
    """Fresh real images pass; a third of noise is doubtful; all noise is bad."""
    generator = torch.Generator().manual_seed(0)

    def real(n):
        side = torch.randint(2, (n,), generator=generator).float()
        jitter = 0.05 * torch.rand(n, 1, 4, 4, generator=generator)
        return (side[:, None, None, None] - jitter).abs()

    train, held_out, noise = real(300), real(300), torch.rand(300, 1, 4, 4, generator=generator)
    levels = {
        share: check_latent_holes(
            run_latent_holes(torch.cat([noise[:share], real(300 - share)]), train, held_out, brightness)
        )
        for share in (0, 100, 300)
    }
    assert [verdict.level for verdict in levels.values()] == ["good", "doubtful", "bad"]
    assert levels[300].value == 1.0
    assert "with_post_hoc_prior" in levels[300].advice
    assert levels[0].advice == ""


def test_what_is_no_image_or_no_classifier_is_refused():
    train = constant(0.0, 1.0)
    with pytest.raises(DataError, match=r"images: expected shape \['N', 1, 2, 2\], got \[3, 4\]"):
        run_latent_holes(torch.zeros(3, 4), train, train, brightness)
    with pytest.raises(DataError, match="held_out: expected shape"):
        run_latent_holes(train, train, train[:0], brightness)
    with pytest.raises(DataError, match=r"classifier: expected probabilities of shape \[2, C\], got \[2\]"):
        run_latent_holes(train, train, train, lambda images: images.flatten(1).mean(1))
    with pytest.raises(DataError, match="classifier: expected probabilities"):
        run_latent_holes(train, train, train, lambda images: 3 * brightness(images))
    with pytest.raises(DataError, match=r"train: expected shape .*, got \[0, 1, 2, 2\]"):
        run_latent_holes(train, train[:0], train, brightness)


def test_what_is_no_number_is_in_no_hole_and_is_refused():
    """NaN is below no limit and above none: it would count as no hole."""
    train, broken = constant(0.0, 1.0), constant(0.5, math.nan)
    with pytest.raises(DataError, match="images: 4 of 8 values are NaN or infinite"):
        run_latent_holes(broken, train, train, brightness)
    with pytest.raises(DataError, match="classifier: expected probabilities"):
        run_latent_holes(train, train, train, lambda images: brightness(images) * math.nan)


def test_one_draw_bears_out_no_verdict():
    """It lies in a hole, but one draw has no standard error."""
    held_out = constant(*[0.02] * 50, *[0.98] * 50)
    found = run_latent_holes(constant(0.5), constant(0.0, 1.0), held_out, brightness)
    assert found.in_hole.tolist() == [True]
    assert check_latent_holes(found).level == "unknown"


@pytest.fixture(scope="module")
def decoded():
    """Decoded draws of an autoencoder and of a VAE of the digits, trained alike, and the holes they fall in."""
    grey, ds = pv.load_dataset("digits"), pv.load_dataset("digits", binarize="dynamic")
    network = MLPClassifier((128,), early_stopping=True, max_iter=60, random_state=0)
    network.fit(grey.train.x.flatten(1).numpy(), grey.train.y.numpy())
    assert network.score(grey.test.x.flatten(1).numpy(), grey.test.y.numpy()) > 0.93

    def classifier(x):
        return torch.from_numpy(network.predict_proba(x.flatten(1).numpy()))

    models = {}
    for name in ("autoencoder", "vae"):
        recipe = pv.make(name, ds.event_shape, latent_dim=8)
        pv.fit(recipe, ds, epochs=60, lr=2e-3, device="cpu", progress=False)
        models[name] = recipe.vae
    autoencoder = models["autoencoder"]
    torch.manual_seed(0)
    with torch.no_grad():
        images = {
            "vae": models["vae"].sample(500),
            "autoencoder": autoencoder.decode(torch.randn(500, 8)).mean,
            "fitted": with_post_hoc_prior(autoencoder, ds.train.x).sample(500),
        }
    return {name: run_latent_holes(x, grey.train.x, grey.test.x, classifier) for name, x in images.items()}


@pytest.mark.slow
def test_an_autoencoder_has_holes_where_a_vae_of_the_digits_has_fewer(decoded):
    """By the classifier's confidence, the distance to the data and the share in holes: 4 standard errors each."""
    vae, autoencoder = decoded["vae"].summary(), decoded["autoencoder"].summary()
    for name, sign in (("confidence", 1), ("distance", -1), ("in_hole", -1)):
        margin = sign * (vae[name] - autoencoder[name])
        assert margin > 4 * math.hypot(vae[f"{name}_stderr"], autoencoder[f"{name}_stderr"]), name


@pytest.mark.slow
def test_a_prior_fitted_to_the_codes_closes_most_of_them(decoded):
    fitted, autoencoder = decoded["fitted"].summary(), decoded["autoencoder"].summary()
    assert fitted["in_hole"] < autoencoder["in_hole"] - 0.2
    assert fitted["confidence"] > autoencoder["confidence"] + 0.1
