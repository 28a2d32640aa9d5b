"""The semi-supervised VAE against its formulas: labels summed out where missing, observed where known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.compilation import step_choice
from ppl_vae.models import JointVAE, PartlyObservedCategory, SemiSupervisedVAE
from ppl_vae.networks import MLP
from tests.inference.oracles import assert_gradient, assert_mean
from tests.inference.small_runs import require_same

SHAPE, CLASSES, MISSING = (5,), 3, -1
LABELS = {
    "mixed": [MISSING, 0, 2, MISSING],
    "labelled": [1, 0, 2, 2],
    "unlabelled": [MISSING] * 4,
}
OWN = {"name": "mlp", "hidden": (3,), "activation": "tanh"}
every_batch = pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)


def small(seed=0, **options):
    """In float64, a one-dimensional code, away from the small initial weights."""
    vae = SemiSupervisedVAE(
        SHAPE, 1, CLASSES, network=MLP((4,), "tanh"), hidden=(3,), seed=seed, **options
    ).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return vae


def binary(n=4):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1)).round().double()


def log_normal(z, loc, sd):
    return -0.5 * ((z - loc) / sd).square() - sd.log() - 0.5 * math.log(2 * math.pi)


def joint_bound(vae, x, c, order=40):
    """E_q(z|x,y) [log p(x, y, z) - log q(z|x, y)] at y = c, the code by quadrature: [N]."""
    y = torch.eye(CLASSES, dtype=x.dtype)[c].expand(len(x), -1)
    conditional = vae.guide.conditional
    hidden = conditional.network(torch.cat([vae.guide.encoder(x), y], -1))
    loc, sd = conditional.family.loc_head(hidden), (0.5 * conditional.family.scale_head(hidden)).exp()
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(order))
    z = loc + sd * nodes
    code = torch.cat([y[:, None].expand(-1, order, -1), z[..., None]], -1)
    logits = vae.model.decoder(code.flatten(0, 1)).unflatten(0, z.shape)
    flat = x[:, None].expand_as(logits)
    log_likelihood = -nn.functional.binary_cross_entropy_with_logits(logits, flat, reduction="none").sum(-1)
    log_prior = log_normal(z, torch.zeros(()), torch.ones(()).double()) - math.log(CLASSES)
    return (weights / weights.sum() * (log_likelihood + log_prior - log_normal(z, loc, sd))).sum(1)


def exact(vae, x, y):
    """-L(x, y) where y is known, -U(x) where it is missing, written out: [N]."""
    each = torch.stack([joint_bound(vae, x, c) for c in range(CLASSES)], -1)
    below = vae.guide.encoder if vae.guide.classifier is None else vae.guide.classifier
    log_q = vae.guide.category_head(below(x)).log_softmax(-1)
    unlabelled = (log_q.exp() * (each - log_q)).sum(-1)
    return torch.where(y == MISSING, unlabelled, each.gather(1, y.clamp_min(0)[:, None])[:, 0])


def draws(objective, vae, x, y, repeats=100):
    """Values [R] and gradients {name: [R, *shape]} of independent estimates of the sum over the data."""
    named, values, found = dict(vae.named_parameters()), [], {}
    for _ in range(repeats):
        loss = objective(vae.model, vae.guide)(x, y)
        values.append(-loss.detach())
        gradients = torch.autograd.grad(-loss, list(named.values()), materialize_grads=True, allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            found.setdefault(name, []).append(gradient)
    return torch.stack(values), {name: torch.stack(each) for name, each in found.items()}


def exact_gradient(value, vae):
    named = dict(vae.named_parameters())
    found = torch.autograd.grad(value, list(named.values()), materialize_grads=True, allow_unused=True)
    return dict(zip(named, found, strict=True))


# The bound ------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_batch
def test_value_and_gradient_are_exact_in_the_mean(labels):
    """Value within 4 standard errors of the sum written out; all gradients jointly, at the suite's rate."""
    vae, x, y, copies = small(), binary(), torch.tensor(labels), 20
    wanted = copies * exact(vae, x, y).sum()
    values, gradients = draws(inf.Enumeration(CLASSES), vae, x.repeat(copies, 1), y.repeat(copies))
    assert_mean(values, wanted.item())
    assert_gradient(gradients, exact_gradient(wanted, vae), magnitude=wanted.abs().item())


@pytest.mark.slow
def test_so_they_are_with_a_network_of_its_own_for_the_classifier():
    vae, x, y, copies = small(classifier=OWN), binary(), torch.tensor(LABELS["mixed"]), 20
    wanted = copies * exact(vae, x, y).sum()
    values, gradients = draws(inf.Enumeration(CLASSES), vae, x.repeat(copies, 1), y.repeat(copies))
    assert_mean(values, wanted.item())
    assert_gradient(gradients, exact_gradient(wanted, vae), magnitude=wanted.abs().item())


@pytest.mark.slow
def test_the_score_function_agrees_on_a_mixed_batch():
    vae, x, y = small(), binary(), torch.tensor(LABELS["mixed"])
    wanted = exact(vae, x, y).sum()
    values, gradients = draws(inf.RLOO(60), vae, x, y)
    assert_mean(values, wanted.item())
    assert_gradient(gradients, exact_gradient(wanted, vae), magnitude=wanted.abs().item())


@every_batch
def test_the_evaluation_is_the_bound_in_closed_form(labels):
    """log p(x, y) where y is given, log p(x) where it is not; the KL of a known label is log C."""
    vae, x, y = small(), binary(), torch.tensor(labels)
    with torch.no_grad():
        wanted = exact(vae, x, y).mean().item()
    found = pv.evaluate(vae, x.repeat(300, 1), num_particles=5, y=y.repeat(300))
    assert found.closed_form
    assert_mean(found.elbo.unflatten(0, (300, 4)).mean(1), wanted)


def test_without_labels_it_is_the_joint_vaes_unlabelled_bound():
    """No y and all -1 are the same thing; the plain evaluation takes x alone."""
    vae, x = small(), binary()
    alone = pv.evaluate(vae, x, seed=3).elbo
    assert torch.equal(alone, pv.evaluate(vae, x, seed=3, y=torch.full((4,), MISSING)).elbo)
    assert not torch.equal(alone, pv.evaluate(vae, x, seed=3, y=torch.zeros(4, dtype=torch.int64)).elbo)


def test_the_evidence_of_data_with_labels_is_that_of_both():
    """exp of the sum over y of log p(x, y) is p(x), each within 4 standard errors."""
    vae, x = small(), binary(3)
    pairs = [pv.log_evidence(vae, x, num_samples=4000, y=torch.full((3,), c)) for c in range(CLASSES)]
    both = torch.stack([found.per_datum for found in pairs]).logsumexp(0)
    alone = pv.log_evidence(vae, x, num_samples=4000)
    share = torch.stack([found.per_datum for found in pairs]).softmax(0)
    errors = torch.stack([found.per_datum_stderr for found in pairs])
    stderr = ((share * errors).square().sum(0) + alone.per_datum_stderr.square()).sqrt()
    assert ((both - alone.per_datum).abs() < 4 * stderr).all()


# The classifier -------------------------------------------------------------------------------------


def test_known_labels_say_nothing_to_the_classifier_but_by_its_own_term():
    """Of a labelled batch the bound has no gradient by the classifier's head; its term has the cross entropy's."""
    vae, x, y = small(), binary(), torch.tensor(LABELS["labelled"])
    head = vae.guide.category_head.weight
    elbo = inf.Enumeration(CLASSES)
    (none,) = torch.autograd.grad(elbo(vae.model, vae.guide)(x, y), head, materialize_grads=True, allow_unused=True)
    assert torch.equal(none, torch.zeros_like(head))
    loss = inf.ClassifierTerm(elbo, alpha=0.7)(vae.model, vae.guide)(x, y)
    (found,) = torch.autograd.grad(loss / 4, head)
    wanted = 0.7 * nn.functional.cross_entropy(vae.classify(x).logits, y)
    torch.testing.assert_close(found, torch.autograd.grad(wanted, head)[0], rtol=1e-10, atol=1e-12)


@every_batch
def test_the_loss_is_the_bound_and_the_mean_cross_entropy_of_what_is_labelled(labels):
    vae, x, y = small(), binary(), torch.tensor(labels)
    elbo = inf.Enumeration(CLASSES)
    terms = elbo.run(vae.model, vae.guide, x, y)
    known = y != MISSING
    cross_entropy = nn.functional.cross_entropy(vae.classify(x[known]).logits, y[known]) if known.any() else 0.0
    wanted = -elbo.bound(terms).mean() + 2.5 * cross_entropy
    torch.testing.assert_close(inf.ClassifierTerm(elbo, 2.5).forward(terms), wanted, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        log_likelihood, kl = inf.ClassifierTerm(elbo, 2.5).estimator.record(terms)
        torch.testing.assert_close(log_likelihood - kl, elbo.bound(terms).mean())


@every_batch
def test_a_history_has_the_bound_and_not_the_objective(labels):
    """At a learning rate of nothing: train_elbo is the exact bound, the loss is alpha cross entropies more."""
    vae, x, y = small(), binary().repeat(400, 1), torch.tensor(labels).repeat(400)
    bound, log_q = exact(vae, x[:4], y[:4]).mean().item(), vae.classify(x[:4]).logits.log_softmax(-1)
    known = y[:4] != MISSING
    cross_entropy = -log_q[known, y[:4][known]].mean().item() if known.any() else 0.0
    elbo = inf.ClassifierTerm(inf.Enumeration(CLASSES), alpha=3.0)
    run = pv.fit(
        vae, (x, y), elbo=elbo, epochs=2, batch_size=1600, lr=1e-15, progress=False, compile=False, device="cpu"
    )
    # The spread of one draw of the code: 1600 data, a standard deviation below 1 nat each.
    assert run.history["train_elbo"].mean() == pytest.approx(bound, abs=4 / 3200**0.5)
    gap = run.history["loss"] + run.history["train_elbo"]
    assert gap.tolist() == pytest.approx([3 * cross_entropy] * 2, abs=1e-9)


@pytest.mark.slow
def test_batches_of_any_labels_are_one_captured_step(monkeypatch):
    """Graph and shapes depend on no label: the traced run is the eager run bit for bit, batch by batch."""
    monkeypatch.setattr(step_choice, "SECONDS_TO_TRACE", 0.0)
    x, y = binary(40), torch.tensor([MISSING] * 14 + [0, 1, 2] * 4 + [2, MISSING] * 7)
    runs = {}
    for compile in ("auto", False):
        vae = small()
        elbo = inf.ClassifierTerm(inf.Enumeration(CLASSES), alpha=1.0)
        options = {"epochs": 3, "batch_size": 4, "device": "cpu", "progress": False}
        runs[compile] = pv.fit(vae, (x, y), elbo=elbo, compile=compile, **options)
    assert [run.manifest["compile"] for run in runs.values()] == ["traced", "eager"]
    require_same(*runs.values())


def test_a_classifier_term_needs_a_guide_that_knows_its_labels():
    elbo = inf.Enumeration(CLASSES)
    with pytest.raises(ModelError, match=r"alpha must be at least 0 and finite, got -1\.0"):
        inf.ClassifierTerm(elbo, -1.0)
    vae, x = small(), binary()
    with pytest.raises(ModelError, match=r"a classifier term needs a site 'label'; the guide draws \['y', 'z'\]"):
        inf.ClassifierTerm(elbo, site="label")(vae.model, vae.guide)(x)
    other = JointVAE(SHAPE, 1, CLASSES, network=MLP((4,))).double()
    with pytest.raises(ModelError, match=r"such as models\.PartlyObservedCategory, got OneHotC"):
        inf.ClassifierTerm(elbo)(other.model, other.guide)(x)


def test_a_classifier_of_its_own_leaves_the_encoder_to_the_code():
    """The cross entropy has no gradient by the encoder, the labelled bound none by the classifier."""
    vae, x, y = small(classifier=OWN), binary(), torch.tensor(LABELS["labelled"])
    code, category = vae.guide.encoder[1].weight, vae.guide.classifier[1].weight
    loss = nn.functional.cross_entropy(vae.classify(x).logits, y)
    found = torch.autograd.grad(loss, [code, category], materialize_grads=True, allow_unused=True)
    assert [each.abs().max().item() > 0 for each in found] == [False, True]
    bound = inf.Enumeration(CLASSES)(vae.model, vae.guide)(x, y)
    found = torch.autograd.grad(bound, [code, category], materialize_grads=True, allow_unused=True)
    assert [each.abs().max().item() > 0 for each in found] == [True, False]


def test_noise_is_before_the_classifier_alone_and_only_while_it_trains():
    noisy = {"name": "denoising", "of": OWN, "noise": "gaussian", "level": 0.5}
    vae, x = small(classifier=noisy), binary()
    features = vae.guide.features(x)
    for training in (True, False):
        vae.train(training)
        assert torch.equal(vae.guide.features(x), features)
        assert torch.equal(vae.classify(x).logits, vae.classify(x).logits) != training


@pytest.mark.parametrize("classifier", ["shared", OWN, nn.Sequential(nn.Linear(5, 3), nn.Tanh())])
def test_a_stored_model_classifies_as_before(classifier, tmp_path):
    vae, x = small(classifier=classifier), binary()
    vae.save(tmp_path)
    if isinstance(classifier, nn.Module):
        with pytest.raises(ModelError, match="'classifier' was a module of your own"):
            pv.load(tmp_path)
        again = pv.load(tmp_path, classifier=nn.Sequential(nn.Linear(5, 3), nn.Tanh()))
    else:
        again = pv.load(tmp_path)
    assert torch.equal(again.classify(x).logits, vae.classify(x).logits)


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        ("mpl", "classifier: unknown network 'mpl'"),
        (3, "classifier: network must be a name"),
        (None, "classifier: "),
    ],
)
def test_another_classifier_is_refused(classifier, message):
    with pytest.raises(ModelError, match=message):
        SemiSupervisedVAE(SHAPE, 1, CLASSES, classifier=classifier)


# The label's distribution ---------------------------------------------------------------------------


def test_a_known_category_is_certain_and_a_missing_one_the_classifiers():
    logits, labels = torch.randn(4, CLASSES, dtype=torch.float64), torch.tensor(LABELS["mixed"])
    q = PartlyObservedCategory(logits, labels)
    free = logits.softmax(-1)
    torch.testing.assert_close(q.probs[0], free[0])
    assert torch.equal(q.probs[1:3], torch.eye(CLASSES, dtype=torch.float64)[[0, 2]])
    assert q.known.tolist() == [0, 1, 1, 0]
    torch.testing.assert_close(q.label_log_prob[1:3].exp(), torch.stack([free[1, 0], free[2, 2]]))
    assert q.label_log_prob[[0, 3]].tolist() == [0, 0]
    prior = torch.distributions.OneHotCategorical(torch.tensor([0.2, 0.3, 0.5]).double())
    kl = torch.distributions.kl_divergence(q, prior)
    torch.testing.assert_close(kl[1:3], -torch.tensor([0.2, 0.5]).double().log())
    assert q.entropy()[1:3].tolist() == [0, 0]
    many = q.expand([7, 4])
    assert isinstance(many, PartlyObservedCategory)
    assert many.batch_shape == (7, 4)
    assert (many.sample().argmax(-1)[:, 1:3] == torch.tensor([0, 2])).all()
    assert torch.equal(many.known, q.known)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (torch.tensor([0, 1, 2, 3]), DataError, r"y: expected labels 0, ..., 2, found values from 0 to 3"),
        (torch.tensor([0, 1, 2, -2]), DataError, r"y: expected labels 0, ..., 2, found values from -2 to 2"),
        (torch.tensor([0, 1, 2]), DataError, r"expected one label for each of 4 data, found \[3\]"),
        (torch.tensor([0.0, 1.0, 2.0, 2.0]), DataError, r"expected integers \[N\], found torch.float32"),
    ],
)
def test_other_labels_are_refused(y, error, message):
    vae, x = small(), binary()
    with pytest.raises(error, match=message):
        pv.evaluate(vae, x, y=y)
    with pytest.raises(error, match=message):
        pv.fit(vae, (x, y), elbo=inf.Enumeration(CLASSES), epochs=1, progress=False)


def test_the_programs_themselves_refuse_labels_of_another_shape():
    vae, x = small(), binary()
    with pytest.raises(ModelError, match=r"expected labels y, integers of shape \[4\], got torch.int64 \[3\]"):
        vae.guide(x, torch.tensor([0, 1, 2]))
    with pytest.raises(ModelError, match=r"expected labels y, integers of shape \[4\], got torch.float32"):
        vae.guide(x, torch.zeros(4))


# What is asked of a trained model -------------------------------------------------------------------


def test_samples_of_a_class_are_decoded_with_it():
    """The mean over many draws of z is the decoder's at the class, by quadrature; without y, the mean of all."""
    vae = small()
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(40))
    with torch.no_grad():
        each = torch.stack([vae.decode(nodes[:, None], torch.full((40,), c)).mean for c in range(CLASSES)])
    means = (weights / weights.sum() * each.movedim(1, -1)).sum(-1)
    assert (means[0] - means[1]).abs().max() > 0.05
    for wanted, y in ((means[1], 1), (means[2], torch.full((4000,), 2)), (means.mean(0), None)):
        found = vae.sample(4000, y=y)
        assert ((found.mean(0) - wanted).abs() < 4 * found.std(0) / 4000**0.5).all()
    noisy = vae.sample(4000, with_noise=True, y=1)
    assert set(noisy.unique().tolist()) == {0.0, 1.0}
    assert ((noisy.mean(0) - means[1]).abs() < 4 * noisy.std(0) / 4000**0.5).all()


def test_analogies_vary_the_class_and_keep_the_code():
    vae, x, y = small(), binary(), torch.tensor([0, 1, 2, 0])
    found, own = vae.analogies(x, y), vae.reconstruct(x, y)
    assert found.shape == (CLASSES, 4, *SHAPE)
    z = vae.encode(x, y).mean
    for n, c in enumerate(y.tolist()):
        torch.testing.assert_close(found[c, n], own[n])
        other = (c + 1) % CLASSES
        torch.testing.assert_close(
            found[other, n], vae.decode(z[n : n + 1], torch.tensor([other])).mean[0].detach()
        )
        assert (found[other, n] - own[n]).abs().max() > 1e-3


def test_without_a_class_the_likeliest_is_taken():
    vae, x = small(), binary()
    likeliest = vae.classify(x).logits.argmax(-1)
    assert torch.equal(vae.encode(x).mean, vae.encode(x, likeliest).mean)
    assert torch.equal(vae.reconstruct(x), vae.reconstruct(x, likeliest))
    torch.testing.assert_close(vae.analogies(x), vae.analogies(x, likeliest))
    with pytest.raises(ModelError, match=r"site 'y': expected categories 0, ..., 2, got \[4\]"):
        vae.sample(2, y=4)
