"""Every prior with every posterior and likelihood: the pair trains and has an evidence, or is refused by name."""

import itertools

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.models.table import CHAINS, CURVED, LIKELIHOODS, POSTERIORS, PRIORS, legal

ALL_PRIORS = {**PRIORS, "flat": "flat"}
ALL_POSTERIORS = {**POSTERIORS, "planar": {"name": "flow", "kind": "planar", "hidden": 8}, "point": "point"}

ALL_FLAT = [name for name in ALL_POSTERIORS if not any(name in of for of in CURVED.values())]


def refusal(prior, posterior):
    """What the refusal says, of a pair without an ELBO; None where there is one."""
    spaces = [
        next((space for space, of in CURVED.items() if name in of or name == space), "flat")
        for name in (prior, posterior)
    ]
    if posterior == "wrapped-normal":
        spaces[1] = "wrapped-normal"
    if spaces[0] != spaces[1]:
        return "has its draws in .*prior's lie in .*choose both for one space"
    if posterior == "point":
        return "prior is improper|guide is a point mass"
    if prior == "flat":
        return "the prior is improper"
    if prior == "vamp" and posterior in ("planar", *CHAINS):
        kind = "flow" if posterior == "planar" else posterior
        return f"prior 'vamp' .* a posterior of kind '{kind}' has its density at its own draws alone"
    return None


def use(prior, posterior, likelihood):
    """A training step and an evidence: numbers that must be finite."""
    family = ALL_POSTERIORS[posterior]
    if (posterior, likelihood) == ("semi-amortised", "zero-inflated-poisson"):
        # A climb over exponentials at untrained weights may leave their range; with small steps it does not.
        family = {**family, "step_size": 0.01}
    vae = pv.VAE(
        (4,),
        3,
        network="linear",
        likelihood=LIKELIHOODS[likelihood],
        prior=ALL_PRIORS[prior],
        posterior=family,
    )
    x = legal(likelihood, torch.rand(5, 4))
    loss = inf.MonteCarloKL(2).loss_and_grads(vae.model, vae.guide, x)
    slopes = [p.grad.abs().sum() for p in vae.parameters() if p.grad is not None]
    return torch.stack([torch.tensor(loss), *slopes, torch.tensor(pv.log_evidence(vae, x, num_samples=10).mean)])


@pytest.mark.slow
@pytest.mark.parametrize("prior", ALL_PRIORS)
def test_every_prior_and_posterior_run_or_are_refused_by_name(prior):
    for posterior in ALL_POSTERIORS:
        message = refusal(prior, posterior)
        if message is None:
            assert torch.isfinite(use(prior, posterior, "bernoulli")).all(), posterior
        else:
            with pytest.raises(ModelError, match=message):
                use(prior, posterior, "bernoulli")


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_runs_with_the_priors_and_posteriors_that_read_model_or_guide(likelihood):
    for prior, posterior in itertools.product(
        ("standard", "vamp", "flow"), ("log-variance", "iaf", "semi-amortised")
    ):
        assert torch.isfinite(use(prior, posterior, likelihood)).all(), (prior, posterior)


def test_a_vamp_prior_of_flows_is_the_mixture_of_each_components_own_density():
    vae = pv.VAE(
        (4,),
        3,
        network="linear",
        prior={"name": "vamp", "num_components": 3},
        posterior={"name": "flow", "kind": "iaf", "hidden": 8},
    ).double()
    z = torch.randn(2, 5, 3, dtype=torch.float64)
    inputs = vae.model.prior.pseudo_inputs
    each = []
    for c in range(3):
        # One pseudo-input for every z, so that nothing is broadcast.
        q = vae.guide.amortised(inputs[c].expand(10, 4))
        each.append(q.log_prob(z.reshape(10, 3)).reshape(2, 5))
    expected = torch.stack(each).logsumexp(0) - torch.tensor(3.0, dtype=torch.float64).log()
    torch.testing.assert_close(vae.model.prior().log_prob(z), expected)
