"""On a CUDA device: the same programs, the same protocol, numbers equal to float tolerance. Run with -m gpu."""

import pyro
import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.inference.pair import given_noise as noises
from ppl_vae.inference.pair import terms as primitive

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def ds():
    return pv.load_dataset("digits", binarize="dynamic")


def test_fit_takes_the_device_and_learns(ds):
    vae = pv.VAE(ds.event_shape, latent_dim=8)
    result = pv.fit(vae, ds, epochs=20, progress=False)
    assert result.manifest["device"].startswith("cuda")
    assert all(p.is_cuda for p in vae.parameters())
    assert result.history["test_elbo"].iloc[-1] > result.history["test_elbo"].iloc[0] + 1


def test_the_elbo_on_the_device_is_that_on_the_cpu(ds):
    vae = pv.VAE(ds.event_shape, latent_dim=8)
    x = ds.test.x[:64]
    noise = torch.randn(4, 64, 8)
    values = []
    for device in ("cpu", "cuda"):
        vae.to(device)
        handler = noises.GivenNoise({"z": noise.to(device)})
        terms = primitive.run_terms(vae.model, vae.guide, (x.to(device),), {}, 4, "total", handler)
        values.append(terms.log_weight.detach().cpu())
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", inf.list_estimators())
def test_every_estimator_trains_on_the_device(ds, name):
    vae = pv.VAE(ds.event_shape, latent_dim=4)
    history = pv.fit(vae, ds, elbo=name, epochs=2, device="cuda", progress=False).history
    assert torch.isfinite(torch.tensor(history["loss"].to_numpy())).all()


def test_stock_pyro_trains_the_model_on_the_device(ds):
    vae = pv.VAE(ds.event_shape, latent_dim=4).to("cuda")
    x = ds.test.x.to("cuda")
    svi = pyro.infer.SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), loss=pyro.infer.Trace_ELBO())
    losses = [svi.step(x) for _ in range(30)]
    assert losses[-1] < losses[0]


def test_a_resumed_run_ends_where_the_whole_one_does(ds, tmp_path):
    for folder, legs in (("whole", [6]), ("resumed", [3, 6])):
        for epochs in legs:
            vae = pv.VAE(ds.event_shape, latent_dim=4)
            pv.fit(vae, ds, epochs=epochs, out_dir=tmp_path / folder, resume=True, device="cuda", progress=False)
    whole, resumed = (pv.load(tmp_path / folder).state_dict() for folder in ("whole", "resumed"))
    for name in whole:
        torch.testing.assert_close(whole[name], resumed[name], rtol=1e-4, atol=1e-5)


def compiled_and_eager(ds, **options):
    """Histories of a run in CUDA graphs and of an eager one under the same seed."""
    results = []
    for compile in (True, False):
        vae = pv.VAE(ds.event_shape, latent_dim=4)
        results.append(pv.fit(vae, ds, epochs=10, device="cuda", compile=compile, progress=False, **options))
    return results


def test_captured_and_eager_training_reach_the_same_elbo(ds):
    compiled, eager = compiled_and_eager(ds)
    assert (compiled.manifest["compile"], eager.manifest["compile"]) == ("compiled", "eager")
    assert compiled.manifest["steps_per_call"] > 1
    scores = [pv.inference.evaluate(r.model, ds.test.x, num_particles=16).elbo for r in (compiled, eager)]
    # Other draws, the same law: over ten epochs the two runs wander by about a tenth of a nat.
    assert abs(scores[0].mean() - scores[1].mean()) < 0.5


def test_every_replay_draws_anew(ds):
    """At a learning rate of nothing, the loss of an epoch differs from the last by its draws alone."""
    vae = pv.VAE(ds.event_shape, latent_dim=4)
    history = pv.fit(vae, ds, epochs=3, lr=1e-12, device="cuda", compile=True, progress=False).history
    assert history["loss"].nunique() == 3


def test_schedules_move_inside_a_captured_graph(ds):
    elbo = inf.Annealed("analytic-kl", inf.schedules.linear(100, 1.0, 0.0))
    compiled, eager = compiled_and_eager(ds, elbo=elbo, schedule=inf.schedules.linear(200, 1.0, 0.1))
    assert compiled.manifest["compile"] == "compiled"
    torch.testing.assert_close(
        torch.tensor(compiled.history["loss"].to_numpy()), torch.tensor(eager.history["loss"].to_numpy()),
        rtol=0.02, atol=0.1,
    )  # fmt: skip


def test_bf16_trains_close_to_float32(ds):
    scores = [
        pv.fit(pv.VAE(ds.event_shape, latent_dim=4), ds, epochs=10, device="cuda", precision=p, progress=False)
        .history["test_elbo"].iloc[-1]
        for p in ("float32", "bf16")
    ]  # fmt: skip
    assert abs(scores[0] - scores[1]) < 1.0


def test_convolutions_are_channels_last_and_checkpoints_are_not_touched_by_it(ds, tmp_path):
    vae = pv.VAE(ds.event_shape, latent_dim=2, network="conv")
    pv.fit(vae, ds, epochs=1, device="cuda", out_dir=tmp_path, progress=False)
    weights = [p for p in vae.parameters() if p.dim() == 4 and min(p.shape[:2]) > 1]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    for name, stored in pv.load(tmp_path).state_dict().items():
        torch.testing.assert_close(stored, vae.state_dict()[name].cpu())
