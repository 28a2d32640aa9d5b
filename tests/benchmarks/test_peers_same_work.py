"""The comparison of losses before the speed benchmark: who does the same work passes, who does not is found out."""

import json
from argparse import Namespace
from dataclasses import replace
from importlib.metadata import version

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from benchmarks.peers.contender import Contender, Task
from benchmarks.peers.contenders import CONTENDERS, CUDA_CONTENDERS
from benchmarks.peers.hand_pytorch import Eager
from benchmarks.peers.parts import Benchmark
from benchmarks.peers.same_work import Judge, narrow
from benchmarks.peers.torch_vae import TorchVAE, initial_weights
from benchmarks.peers.workloads import Workload, load_images, mlp

TINY = Workload("tiny", "digits", (1, 8, 8), 3, mlp(16), batch=16, size=64, epochs=2)
IMPORTANCE = replace(TINY, particles=5)
CONV = replace(TINY, network={"name": "conv"}, latent_dim=2)
ALWAYS = ("ours-eager", "pyro-example", "pyro-loader", "pyro-memory", "hand-eager")
OPTIONAL = {"numpyro-jit": "numpyro", "numpyro-scan": "numpyro", "pythae": "pythae"}


def task_of(workload):
    return Task(workload, load_images(workload, None)[0], initial_weights(workload))


# The judge ------------------------------------------------------------------------------------------------------


def test_the_loss_by_hand_is_the_distributions_own():
    """-log p(x|mu) + KL(N(mu, s^2) || N(0, 1)) under a guide without width."""
    task = narrow(task_of(TINY))
    net = TorchVAE(TINY).double()
    net.load_state_dict({name: weight.double() for name, weight in task.weights.items()})
    x = task.x[:16].double()
    mean, log_variance = net.encode(x)
    p = Bernoulli(logits=net.decoder(mean).reshape(x.shape), validate_args=False)
    kl = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(torch.zeros_like(mean), 1.0))
    expected = (kl.sum(-1) - p.log_prob(x).flatten(1).sum(1)).mean()
    torch.testing.assert_close(net.loss(x), expected, rtol=1e-10, atol=0)


def test_the_importance_bound_is_exact_where_the_weights_are_equal():
    """q = p(z) and a decoder that ignores z: every weight is p(x) = 2^-64."""
    net = TorchVAE(IMPORTANCE).double()
    with torch.no_grad():
        for part in (net.loc_head, net.scale_head, net.decoder[-1]):
            part.weight.zero_()
            part.bias.zero_()
    x = task_of(IMPORTANCE).x.double()
    expected = 64 * torch.log(torch.tensor(2.0, dtype=torch.float64))
    torch.testing.assert_close(net.loss(x), expected, rtol=1e-10, atol=0)


# Contenders -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("workload", [TINY, IMPORTANCE, CONV], ids=["elbo", "importance-weighted", "conv"])
@pytest.mark.parametrize("name", ALWAYS)
def test_contenders_do_the_same_work(name, workload):
    contender = CONTENDERS[name]
    verdicts = Judge(task_of(workload))(contender, contender.load(), draws=True)
    assert len(verdicts) == 1 + (contender.exact_kl and workload.particles == 1)
    assert all(verdict.same for verdict in verdicts), verdicts


@pytest.mark.slow
@pytest.mark.parametrize("workload", [TINY, CONV], ids=["elbo", "conv"])
@pytest.mark.parametrize("name", OPTIONAL)
def test_optional_contenders_do_the_same_work(name, workload):
    pytest.importorskip(OPTIONAL[name])
    contender = CONTENDERS[name]
    assert all(verdict.same for verdict in Judge(task_of(workload))(contender, contender.load(), draws=True))


class TwiceTheRate(Eager):
    def __init__(self, task):
        super().__init__(replace(task, workload=replace(task.workload, lr=2 * task.workload.lr)))


class PlainDescent(Eager):
    def __init__(self, task):
        super().__init__(task)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=task.workload.lr)


class OtherKL(Eager):
    def __init__(self, task):
        super().__init__(task)
        self.loss = lambda x: self.net.loss(x) + 1e-3 * self.net.encode(x)[1].exp().sum() + 1.0


class Noiseless(Eager):
    def __init__(self, task):
        super().__init__(task)
        encode = self.net.encode

        def without_noise(x):
            mean, log_variance = encode(x)
            return mean, log_variance.detach() - 60.0

        wide, self.net.encode = self.net._negative_elbo, without_noise
        self.loss = lambda x: wide(x) - 30.0 * self.net.loc_head.out_features + self._kl_of_width(encode, x)

    @staticmethod
    def _kl_of_width(encode, x):
        return 0.5 * encode(x)[1].exp().sum() / len(x)


@pytest.mark.parametrize("start", [TwiceTheRate, PlainDescent, OtherKL])
def test_another_optimisation_is_found_out(start):
    assert not Judge(task_of(TINY)).same_path(start).same


def test_missing_noise_is_found_out_by_the_draws():
    verdict = Judge(task_of(TINY)).same_draws(Noiseless)
    assert not verdict.same, verdict.words


# The whole run --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_lists_who_cannot_take_part_and_writes_its_results(tmp_path):
    options = Namespace(
        workload=None, contender=None, rounds=2, growth_rounds=1, threads=1, results=tmp_path, root=None, probe=None
    )
    contenders = {name: CUDA_CONTENDERS[name] for name in ("ours-eager", "hand-eager", "cuda-graph")}
    contenders["other"] = Contender("other", "another rate", lambda: TwiceTheRate)
    Benchmark("speed", {"tiny": TINY}, contenders, "cpu", options).run(["steady"])
    stored = json.loads((tmp_path / "speed.json").read_text())["steady"]
    found = stored["results"]["tiny"]["contenders"]
    assert list(found) == list(contenders)
    assert "CUDA" in found["cuda-graph"]["unavailable"]
    assert "its loss is another" in found["other"]["unavailable"]
    for name in ("ours-eager", "hand-eager"):
        assert len(found[name]["rounds"]) == 2
        rate = found[name]["images_per_second"]
        assert 0 < rate["lower"] <= rate["median"] <= rate["upper"]
    assert stored["machine"]["versions"]["torch"] == version("torch")
    assert (tmp_path / "speed.png").stat().st_size > 10_000
