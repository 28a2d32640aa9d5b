"""ARM, DisARM and RELAX: value and gradient against enumeration, their variances, and what they refuse."""

import pyro
import pytest
import torch
from pyro import distributions as dist

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.inference.enumeration import PHI, THETA, DiscreteCopies, discrete_workbench, expect_tuples
from tests.inference.oracles import assert_gradient, assert_mean, gradient_of

pytestmark = pytest.mark.usefixtures("one_thread")

MAKE = {"arm": lambda: inf.ARM(2), "disarm": lambda: inf.DisARM(2), "relax": lambda: inf.RELAX(2)}
EVERY = pytest.mark.parametrize("name", MAKE)


def elbo_of(x):
    return lambda p: expect_tuples(lambda lp, lq: (lp - lq)[0], "bits", p, x, 1)


def own_run(objective, copies, kl_weight=1.0):
    """The bound per copy and the gradient per copy, by the objective's own draws."""
    terms = objective.run(copies.model, copies.guide, copies.x).weighted(kl_weight)
    climbed = -copies.groups * objective.forward(terms)
    gradient = torch.autograd.grad(climbed, list(copies.live.values()), materialize_grads=True, allow_unused=True)
    return objective.bound(terms).detach(), dict(zip(copies.live, gradient, strict=True))


def drawn(objective, p, x, copies=10_000, kl_weight=1.0):
    torch.manual_seed(0)
    return own_run(objective, DiscreteCopies("bits", p, x, copies), kl_weight)


@EVERY
@pytest.mark.parametrize("num_particles", [2, 4])
def test_value_and_gradient_are_the_enumerated_ones(name, num_particles):
    p, x = discrete_workbench("bits", seed=1)
    objective = {"arm": inf.ARM, "disarm": inf.DisARM, "relax": inf.RELAX}[name](num_particles)
    value, gradient = drawn(objective, p, x)
    assert_mean(value, elbo_of(x)(p))
    assert_gradient(gradient, gradient_of(elbo_of(x), p, (*THETA, *PHI)))


@EVERY
def test_a_weight_on_the_divergence_leaves_them_unbiased(name):
    p, x = discrete_workbench("bits", seed=2)
    raw = elbo_of(x)

    def weighted(p):
        return 0.5 * raw(p) + 0.5 * likelihood(p, x)

    value, gradient = drawn(MAKE[name](), p, x, kl_weight=0.5)
    assert raw(p) < weighted(p)
    assert_mean(value, weighted(p))
    assert_gradient(gradient, gradient_of(weighted, p, (*THETA, *PHI)))


def likelihood(p, x):
    """E_q log p(x|z), by enumeration."""
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * len(p["q"]))
    mass = torch.distributions.Bernoulli(logits=p["q"]).log_prob(every).sum(1).exp()
    fit = torch.distributions.Normal(every @ p["weight"].mT, 1.0).log_prob(x).sum(1)
    return (mass * fit).sum()


def variance(objective, p, x):
    """The variance of the gradient by the guide's logits, summed."""
    return drawn(objective, p, x, 20_000)[1]["q"].var(0).sum().item()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_disarm_is_arm_without_its_noise_and_beats_two_draws_of_the_plain_score(seed):
    p, x = discrete_workbench("bits", seed=seed)
    arm, disarm = variance(inf.ARM(2), p, x), variance(inf.DisARM(2), p, x)
    assert disarm < 0.95 * arm
    assert disarm < 0.5 * variance(inf.ScoreFunction(2), p, x)


def test_disarm_is_the_mean_of_arm_given_its_two_draws():
    """At logits of the user's own, by averaging over the noise that gives the same bits."""
    logits, count = torch.tensor([0.7, -1.2], dtype=torch.float64), 400_000
    noise = torch.rand(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, second = (1 - noise < logits.sigmoid()).double(), (noise < logits.sigmoid()).double()
    wanted = inf.DisARM().slopes(logits, first, second, noise)
    found = inf.ARM().slopes(logits, first, second, noise)
    for bits in ((1, 0), (0, 1), (1, 1), (0, 0)):
        for j in range(2):
            same = (first[:, j] == bits[0]) & (second[:, j] == bits[1])
            if same.sum() > 100:
                assert_mean(found[same, j], wanted[same, j][0])


@pytest.mark.slow
def test_the_control_variate_learns_to_lower_the_variance():
    p, x = discrete_workbench("bits", seed=3)
    torch.manual_seed(0)
    objective = inf.RELAX(1, hidden=(32,))
    copies = DiscreteCopies("bits", p, x, 128)
    objective.run(copies.model, copies.guide, copies.x)
    before = variance(objective, p, x)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        objective.forward(objective.run(copies.model, copies.guide, copies.x)).backward()
        optimizer.step()
    assert variance(objective, p, x) < 0.5 * before
    # Whatever the network is, the gradient stays unbiased.
    assert_gradient(drawn(objective, p, x, 20_000)[1], gradient_of(elbo_of(x), p, (*THETA, *PHI)))


@pytest.mark.parametrize("logit", [-100.0, -10.0, 10.0, 100.0])
@EVERY
def test_certain_bits_have_finite_gradients_in_single_precision(name, logit):
    p, x = discrete_workbench("bits", seed=1)
    p = {key: value.float() for key, value in p.items()}
    p["q"] = torch.full_like(p["q"], logit)
    value, gradient = drawn(MAKE[name](), p, x.float(), 50)
    assert value.isfinite().all()
    assert all(g.isfinite().all() for g in gradient.values())


def test_what_is_no_binary_site_is_refused_by_name():
    p, x = discrete_workbench("category")
    copies = DiscreteCopies("category", p, x, 3)
    for objective in (inf.ARM(), inf.DisARM(), inf.RELAX()):
        with pytest.raises(ModelError, match=r"needs one site of Bernoulli variables; the guide draws \['z'\]"):
            objective.per_datum(copies.model, copies.guide, copies.x)
    with pytest.raises(ModelError, match="num_particles must be even, got 3"):
        inf.DisARM(3)
    bits = DiscreteCopies("bits", *discrete_workbench("bits"), 3)
    terms = inf.trace_terms(bits.model, bits.guide, bits.x, num_particles=2, gradient="score")
    with pytest.raises(ModelError, match=r"site 'z': DisARM needs terms of its own run\(\)"):
        inf.DisARM().forward(terms)


@pytest.mark.slow
def test_training_by_disarm_reaches_what_enumeration_reaches():
    class Bits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.means = torch.nn.Parameter(torch.tensor([[1.0, -0.5], [0.3, 2.0]]))
            self.encoder = torch.nn.Linear(2, 2)
            torch.nn.init.zeros_(self.encoder.weight)

        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Bernoulli(logits=torch.zeros(2)).to_event(1))
                pyro.sample("x", dist.Normal(z @ self.means, 1.0).to_event(1), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Bernoulli(logits=self.encoder(x)).to_event(1))

    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    reached = {}
    for name, objective in {"disarm": inf.DisARM(4), "relax": inf.RELAX(4), "exact": inf.Enumeration(4)}.items():
        torch.manual_seed(0)
        pair = Bits()
        inf.fit(
            pair, x, elbo=objective, epochs=60, batch_size=64, lr=0.05, device="cpu", compile=False, progress=False
        )
        with torch.no_grad():
            reached[name] = inf.Enumeration(4).per_datum(pair, x).mean().item()
    assert abs(reached["disarm"] - reached["exact"]) < 0.02
    assert abs(reached["relax"] - reached["exact"]) < 0.02
