import pytest
import torch

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.laboratory.reference import reference
from ppl_vae.inference.pair.pair import as_pair
from ppl_vae.inference.training.weights import collect_weights
from tests.inference.comparisons import CategoricalPair, off_optimum
from tests.scenarios import binary_mlp, quadrature_elbo, quadrature_evidence


def refer(pair, x, repeats=300, memory_limit=1 << 24, first="score-function"):
    weights = collect_weights(pair.model, pair.guide, inf.get_elbo(first), x)
    return reference(as_pair(pair), weights, x, repeats, 0, memory_limit, lambda _: None)


def test_closed_forms_where_the_model_has_them():
    lg, x = off_optimum()
    found = refer(lg, x)
    assert found.elbo == (lg.elbo(x).mean().item(), 0.0)
    assert found.evidence == (lg.log_evidence(x).mean().item(), 0.0)
    assert found.elbo_source == found.evidence_source == "closed form"
    (exact,) = torch.autograd.grad(lg.elbo(x).mean(), lg.weight)
    torch.testing.assert_close(found.gradient["model.decoder.weight"], exact)


class Plain:
    """A pair that says nothing about itself."""

    def __init__(self, pair):
        self.model, self.guide = pair.model, pair.guide


def test_long_averages_where_it_has_none():
    lg, x = off_optimum()
    exact, found = refer(lg, x), refer(Plain(lg), x)
    assert found.elbo_source == "average of 300 repeats of AnalyticKL(num_particles=8)"
    assert "importance bound of 5000 draws" in found.evidence_source
    assert abs(found.elbo[0] - exact.elbo[0]) < 4 * found.elbo[1]
    assert abs(found.evidence[0] - exact.evidence[0]) < 4 * found.evidence[1] + 1e-3
    assert 0 < found.evidence[1] < 0.02
    ours, theirs = (torch.cat([g.flatten() for g in r.gradient.values()]) for r in (exact, found))
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.99


@pytest.mark.slow
def test_against_quadrature_on_a_binary_decoder():
    vae = binary_mlp()
    x = torch.tensor([[1.0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]], dtype=torch.float64)
    found = refer(vae, x, repeats=2000)
    assert abs(found.elbo[0] - quadrature_elbo(vae, x).mean().item()) < 4 * found.elbo[1]
    assert abs(found.evidence[0] - quadrature_evidence(vae, x).mean().item()) < 4 * found.evidence[1] + 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("memory_limit", [1, 1 << 12])
def test_the_importance_bound_takes_its_draws_in_chunks(memory_limit):
    lg, x = off_optimum()
    found = refer(Plain(lg), x[:1], repeats=2, memory_limit=memory_limit)
    assert abs(found.evidence[0] - lg.log_evidence(x[:1]).item()) < 4 * found.evidence[1] + 1e-3


@pytest.mark.slow
def test_a_discrete_pair_falls_back_to_the_score_function():
    pair, x = CategoricalPair(), torch.randn(3, 2, dtype=torch.float64)
    found = refer(pair, x, repeats=200)
    assert "RLOO" in found.elbo_source
    assert abs(found.elbo[0] - pair.exact_elbo(x).mean().item()) < 4 * found.elbo[1]


def test_a_pair_that_allows_none_is_refused_by_site():
    lg, x = off_optimum()
    pair = Plain(lg)
    weights = collect_weights(lg.model, lg.guide, inf.get_elbo("iwae"), x)
    pair.model = lambda x: None
    with pytest.raises(ModelError, match="the model observes nothing"):
        reference(as_pair(pair), weights, x, 2, 0, 1 << 20, lambda _: None)
