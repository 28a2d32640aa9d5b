"""Hierarchical residual quantisation: the tree of codes, the bound, what is left over, storage."""

import math

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae import models
from ppl_vae.models.vector_quantised.child_codes import ChildIndices, nearest_child

SHAPE = (6,)


def made(**options):
    sizes = {"num_cells": 2, "num_codes": 3, "num_levels": 3, "code_dim": 2}
    return models.ResidualVQVAE(SHAPE, **{**sizes, "network": {"name": "mlp", "hidden": (5,)}, **options})


def data(n=8):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(0)).round()


def test_each_level_takes_the_nearest_child_of_what_is_left_over():
    """By a search written out in loops."""
    vae, x = made(), data()
    encoded = vae.guide.head(vae.guide.features(x)).unflatten(-1, (2, 2)).detach()
    found = vae.codes(x)
    for n in range(len(x)):
        for m in range(2):
            left, parent = encoded[n, m], 0
            for level, book in enumerate(vae.model.codebooks):
                children = range(parent * 3, parent * 3 + 3) if level else range(3)
                distances = [(left - book.code[k]).square().sum().item() for k in children]
                parent = list(children)[distances.index(min(distances))]
                assert found[n, level, m] == parent
                left = left - book.code[parent]


def test_the_bound_is_the_likelihood_and_the_mass_of_the_path_through_the_tree():
    """With equal logits every level costs log C in every cell; with others, the logarithm of their softmax."""
    vae, x = made(), data()
    terms = inf.trace_terms(vae, x)
    torch.testing.assert_close(terms.kl().squeeze(0), torch.full((8,), 3 * 2 * math.log(3)))
    torch.testing.assert_close(-terms.log_prior, terms.kl())
    with torch.no_grad():
        for logits in vae.model.logits:
            logits.normal_()
    k, (first, second, third) = vae.codes(x), (logits.log_softmax(-1) for logits in vae.model.logits)
    mass = first[0][k[:, 0]] + second[k[:, 0], k[:, 1] % 3] + third[k[:, 1], k[:, 2] % 3]
    torch.testing.assert_close(inf.trace_terms(vae, x).log_prior[0], mass.sum(-1))


def test_equal_codes_of_different_parents_are_told_apart():
    vae, x = made(), data()
    with torch.no_grad():
        for book in vae.model.codebooks[1:]:
            book.code.copy_(book.code[:3].repeat(len(book.code) // 3, 1))
    assert inf.AnalyticKL().per_datum(vae, x).isfinite().all()
    assert inf.MonteCarloKL(2).per_datum(vae, x).isfinite().all()


def test_masses_of_children_sum_to_one_and_other_parents_children_have_none():
    parent, logits = torch.tensor([[0, 2]]), torch.randn(1, 2, 3)
    law = ChildIndices(parent, logits)
    pairs = torch.cartesian_prod(torch.arange(9), torch.arange(9))
    mass = law.expand((81,)).log_prob(pairs).exp()
    assert mass.sum().item() == pytest.approx(1.0, rel=1e-5)
    assert (mass > 0).sum() == 9
    assert (law.sample((50,)) // 3 == parent).all()
    assert nearest_child(torch.zeros(1, 2, 2), torch.arange(18.0).view(9, 2), parent, 3).tolist() == [[0, 6]]


def test_one_value_stands_for_several_particles():
    """The guide is a point: the bound of four draws is that of one, which raised an error of torch."""
    vae, x = made(), data()
    one, four = (pv.evaluate(vae, x, num_particles=number) for number in (1, 4))
    torch.testing.assert_close(one.elbo, four.elbo)
    torch.testing.assert_close(one.kl, four.kl)


def test_every_parameter_receives_a_gradient_and_codes_follow_in_training_alone():
    vae, x = made(), data()
    objective = inf.VectorQuantisation()
    before = [book.code.clone() for book in vae.model.codebooks]
    objective(vae.model, vae.guide)(x).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())
    assert any(not torch.equal(b, book.code) for b, book in zip(before, vae.model.codebooks, strict=True))
    vae.eval()
    before = [book.code.clone() for book in vae.model.codebooks]
    objective(vae.model, vae.guide)(x).backward()
    assert all(torch.equal(b, book.code) for b, book in zip(before, vae.model.codebooks, strict=True))


def test_save_and_load_and_draws(tmp_path):
    vae, x = made(seed=1), data()
    vae.save(tmp_path / "model")
    loaded = pv.load(tmp_path / "model")
    assert torch.equal(loaded.codes(x), vae.codes(x))
    assert torch.equal(loaded.reconstruct(x), vae.reconstruct(x))
    assert loaded.config == vae.config
    assert vae.sample(5).shape == (5, *SHAPE)
    assert not torch.equal(vae.reconstruct(x, 1), vae.reconstruct(x, 3))
