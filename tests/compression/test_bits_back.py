"""A message comes back as it was, is as long as the ELBO promises, and shorter than general coders make it."""

import copy
import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae.compression import code_length, compress, decode_images, decompress, encode_images, general_sizes
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models import HierarchicalVAE

pytest.importorskip("constriction")


@pytest.fixture(scope="module")
def digits():
    """Binarised digits: 597 to learn from and 1,200 held out."""
    ds = pv.load_dataset("digits", binarize="threshold")
    x = torch.cat([ds.train.x, ds.test.x])
    x = (x > 0.5).float()
    return x[:597], x[597:]


@pytest.fixture(scope="module")
def vae(digits):
    vae = pv.VAE((1, 8, 8), 6)
    pv.fit(vae, digits[0], epochs=30, batch_size=64, lr=2e-3, progress=False)
    return vae


def fits(model, x, message, digits=4):
    """The message over what is promised lies in [1.00, 1.01], by so many errors of the codes that were drawn."""
    promised = code_length(model, x, num_particles=20, seed=0).loc["length"]
    log_weight = pv.log_evidence(model, x, num_samples=20).per_datum
    spread = pv.inference.evaluate(model, x, num_particles=1).elbo.double() - log_weight
    error = spread.std().item() / math.log(2) / math.sqrt(len(x))
    length = message.net_bits / len(x)
    assert promised["bits_per_datum"] - 4 * error < length < 1.01 * promised["bits_per_datum"] + 4 * error
    return length / promised["bits_per_datum"]


def test_images_come_back_and_cost_what_the_elbo_promises(vae, digits):
    x = digits[1]
    message = encode_images(vae, x)
    torch.testing.assert_close(decode_images(vae, message), x, rtol=0, atol=0)
    assert 0.997 < fits(vae, x, message) < 1.01
    # The first image's code is all that is popped from the initial bits.
    assert 0 < message.initial_bits < 6 * 24
    assert 32 * len(message.words) - message.net_bits - message.initial_bits < 3 * 32
    sizes = general_sizes(x)
    assert all(4 * len(message.words) < size for size in sizes.values()), sizes


@pytest.mark.slow
def test_bit_swap_of_a_hierarchy_and_its_own_promise(digits):
    hierarchy = HierarchicalVAE((1, 8, 8), (6, 3), hidden=(16,))
    pv.fit(hierarchy, digits[0], "monte-carlo-kl", epochs=6, batch_size=64, lr=2e-3, progress=False)
    x = digits[1]
    message = encode_images(hierarchy, x, group=128)
    torch.testing.assert_close(decode_images(hierarchy, message), x, rtol=0, atol=0)
    fits(hierarchy, x, message)


@pytest.mark.parametrize(("count", "group"), [(1, 256), (7, 1), (50, 3)])
def test_any_number_of_images_in_any_groups_comes_back(vae, digits, count, group):
    x = digits[1][:count]
    message = encode_images(vae, x, group=group)
    torch.testing.assert_close(decode_images(vae, message), x, rtol=0, atol=0)


def test_popped_codes_have_the_guides_distribution(vae, digits, monkeypatch):
    """Without whitening the bits of mismatched codes are not uniform, and neither are the codes drawn from them."""
    from ppl_vae.compression.stack import Stack

    popped = []
    pop = Stack.pop_near

    def kept(self, mean, std, most):
        popped.append((pop(self, mean, std, most) - mean) / std)
        return np.asarray(popped[-1] * std + mean).round().astype(np.int32)

    monkeypatch.setattr(Stack, "pop_near", kept)
    encode_images(vae, digits[1])
    eps = np.concatenate([each.ravel() for each in popped])
    assert abs(eps.mean()) < 4 / math.sqrt(len(eps))
    assert abs(eps.var() - 1) < 4 * math.sqrt(2 / len(eps))


def test_a_file_is_read_back_and_damage_is_one_clear_error(vae, digits, tmp_path):
    path, x = tmp_path / "digits.pvbb", digits[1][:200]
    compress(vae, x, path)
    torch.testing.assert_close(decompress(vae, path), x, rtol=0, atol=0)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for position in (*generator.integers(len(whole), size=12), 0, 4, len(whole) - 1):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(generator.integers(8))
        path.write_bytes(bytes(flipped))
        with pytest.raises(DataError, match=r"digits.pvbb: (damaged or cut off|not a file of ppl-vae compress)"):
            decompress(vae, path)
    for length in (0, 3, 8, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"digits.pvbb: (damaged or cut off|not a file)"):
            decompress(vae, path)
    with pytest.raises(DataError, match=r"nothing.pvbb: cannot be read"):
        decompress(vae, tmp_path / "nothing.pvbb")


def test_another_model_and_another_rounding_are_refused(vae, digits, tmp_path, monkeypatch):
    path, x = tmp_path / "digits.pvbb", digits[1][:100]
    compress(vae, x, path)
    with pytest.raises(DataError, match="written by a model with other weights"):
        decompress(pv.VAE((1, 8, 8), 6, seed=5), path)
    from ppl_vae.compression import grid
    from ppl_vae.compression.latent_chain import LatentChain

    # What the decoder's last layer is given, and the logits themselves of a decoder without such a layer.
    no_head = copy.deepcopy(vae)
    no_head.model.decoder.append(torch.nn.Identity())
    compress(no_head, x, tmp_path / "no-head.pvbb")
    for name, model, written in (("arguments", vae, path), ("logits", no_head, tmp_path / "no-head.pvbb")):
        exact = getattr(LatentChain, name)
        # Within the guard band nothing changes; a machine of six digits is refused.
        monkeypatch.setattr(LatentChain, name, lambda self, z, exact=exact: exact(self, z) * (1 + 1e-12))
        torch.testing.assert_close(decompress(model, written), x, rtol=0, atol=0)
        monkeypatch.setattr(LatentChain, name, lambda self, z, exact=exact: exact(self, z) * (1 + 1e-2))
        with pytest.raises(DataError, match=r"this machine rounds unlike the writer's"):
            decompress(model, written)
        monkeypatch.undo()
    monkeypatch.setattr(grid, "_STD_TABLE", grid._STD_TABLE * 2)
    with pytest.raises(DataError, match="other tables of quantisation"):
        decompress(vae, path)


def test_a_file_of_an_older_version_is_refused_by_its_number(vae, digits, tmp_path):
    path = tmp_path / "old.pvbb"
    compress(vae, digits[1][:10], path)
    body = bytearray(path.read_bytes()[:-32])
    body[4] = 1
    path.write_bytes(bytes(body) + hashlib.sha256(body).digest())
    with pytest.raises(DataError, match=r"old.pvbb: version 1 of the format, and this package reads 3"):
        decompress(vae, path)


def test_what_the_guard_band_holds_is_read_from_the_file():
    """A number on the border of two cells, which two machines put into different ones."""
    from ppl_vae.compression.grid import Grid

    values = np.array([0.2, 0.5, 7.5 + 1e-12, 3.4999])
    writer = Grid()
    cells = writer.cells(values, "here")
    assert writer.uncertain == {"here": [[1, 1], [2, 8]]}
    reader = Grid(writer.uncertain)
    np.testing.assert_array_equal(reader.cells(values - 2e-12, "here"), cells)
    assert not np.array_equal(np.floor(values - 2e-12 + 0.5), cells)


READ = """
import sys, torch, numpy as np, ppl_vae as pv
from ppl_vae.compression import decompress
torch.set_num_threads(int(sys.argv[3]))
np.save(sys.argv[2] + ".npy", decompress(pv.load(sys.argv[1]), sys.argv[2]).numpy())
"""


@pytest.mark.slow
def test_another_process_with_other_threads_reads_the_same(vae, digits, tmp_path):
    vae.save(tmp_path / "model")
    x = digits[1]
    compress(vae, x, tmp_path / "digits.pvbb")
    for threads in (1, 3):
        arguments = [str(tmp_path / "model"), str(tmp_path / "digits.pvbb"), str(threads)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        subprocess.run([sys.executable, "-c", READ, *arguments], check=True, env=environment)
        np.testing.assert_array_equal(np.load(tmp_path / "digits.pvbb.npy"), x.numpy())


@pytest.mark.slow
def test_mnist_is_shorter_than_general_coders_make_it(tmp_path):
    if not os.environ.get("PPL_VAE_DATA"):
        pytest.skip("needs MNIST under PPL_VAE_DATA")
    ds = pv.load_dataset("mnist", root=os.environ["PPL_VAE_DATA"], binarize="threshold")
    vae = pv.VAE(ds.event_shape, 20)
    pv.fit(vae, ds.train.x[:12000], epochs=6, lr=2e-3, progress=False)
    x = ds.test.x[:1000]
    message = compress(vae, x, tmp_path / "mnist.pvbb")
    torch.testing.assert_close(decompress(vae, tmp_path / "mnist.pvbb"), x, rtol=0, atol=0)
    assert 0.998 < fits(vae, x, message) < 1.01
    size = (tmp_path / "mnist.pvbb").stat().st_size
    assert all(size < other for other in general_sizes(x).values())


def test_models_that_have_no_such_code_are_refused_by_their_part(vae, digits):
    with pytest.raises(ModelError, match="takes a VAE or a HierarchicalVAE, got a tuple"):
        encode_images((vae.model, vae.guide), digits[1])
    with pytest.raises(ModelError, match="likelihood 'bernoulli', got 'gaussian'"):
        encode_images(pv.VAE((1, 8, 8), 2, likelihood="gaussian"), digits[1])
    with pytest.raises(ModelError, match="the prior 'standard', got a MixturePrior"):
        encode_images(pv.VAE((1, 8, 8), 2, prior="mixture"), digits[1])
    with pytest.raises(ModelError, match="diagonal Gaussian conditionals"):
        encode_images(pv.VAE((1, 8, 8), 2, posterior="full-covariance"), digits[1])
    with pytest.raises(DataError, match="needs binary data"):
        encode_images(vae, 0.5 * digits[1])
    with pytest.raises(ModelError, match="expected data of shape"):
        encode_images(vae, digits[1][:, 0])


@pytest.mark.slow
def test_columns_in_another_order_and_no_images_are_refused(tmp_path):
    """What evaluate refuses cannot be coded either: the code would be that of other pixels."""
    frame = pd.DataFrame((np.random.default_rng(0).random((40, 6)) < 0.3).astype(int), columns=list("abcdef"))
    vae = pv.VAE((6,), latent_dim=2, network="linear")
    pv.fit(vae, frame, epochs=1, progress=False)
    compress(vae, frame, tmp_path / "x.pvbb")
    np.testing.assert_array_equal(decompress(vae, tmp_path / "x.pvbb").numpy(), frame)
    with pytest.raises(DataError, match="training data in another order"):
        compress(vae, frame[list("fedcba")], tmp_path / "x.pvbb")
    with pytest.raises(DataError, match="data are empty"):
        compress(vae, frame[:0], tmp_path / "x.pvbb")


def coin(x):
    p = pyro.sample("p", dist.Beta(1.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Bernoulli(p), obs=x)


def coin_guide(x):
    pyro.sample("p", dist.Beta(4.0, 3.0))


def test_the_rate_has_the_share_of_global_sites():
    """Under the exact guide of a coin the length is -log2 p(x_1, ..., x_N) / N, with p = B(1 + k, 1 + N - k)."""
    x = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0])
    table = code_length((coin, coin_guide), x, num_particles=2000)
    exact = -math.log2(math.gamma(4) * math.gamma(3) / math.gamma(7)) / 5
    logs = torch.distributions.Beta(torch.tensor(4.0), torch.tensor(3.0)).sample((10000,))
    spread = (3 * logs.log() + 2 * (1 - logs).log()).std().item() / math.log(2) / 5
    assert abs(table.loc["length", "bits_per_datum"] - exact) < 4 * spread / math.sqrt(2000)
    both = table.loc["rate", "bits_per_datum"] + table.loc["distortion", "bits_per_datum"]
    assert both == pytest.approx(table.loc["length", "bits_per_datum"])


def test_the_promise_is_minus_the_elbo_in_bits(vae, digits):
    table = code_length(vae, digits[1], num_particles=5, seed=1)
    evaluation = pv.evaluate(vae, digits[1], num_particles=5, seed=1)
    assert table.loc["length", "bits_per_datum"] == pytest.approx(-evaluation.elbo.mean().item() / math.log(2))
    assert table.loc["length", "bits_per_dim"] == pytest.approx(table.loc["length", "bits_per_datum"] / 64)
    both = table.loc["rate", "bits_per_datum"] + table.loc["distortion", "bits_per_datum"]
    assert both == pytest.approx(table.loc["length", "bits_per_datum"])
    with pytest.raises(ModelError, match="no ELBO"):
        code_length(pv.make("autoencoder", (1, 8, 8), latent_dim=2), digits[1])


@pytest.mark.parametrize("likelihood", ["gaussian", "continuous-bernoulli"])
def test_a_density_is_no_code_length(likelihood):
    """Of data in [0, 1] a continuous Bernoulli would promise 0.06 bits for six real numbers."""
    x = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ModelError, match="site 'x' has a density, and a density is no code length"):
        code_length(pv.VAE((6,), 2, network="linear", likelihood=likelihood), x)


def test_grey_values_under_a_relaxed_bernoulli_have_no_code():
    x = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    with pytest.raises(DataError, match="site 'x': some values could never be drawn"):
        code_length(pv.VAE((6,), 2, network="linear", likelihood="bernoulli-relaxed"), x)


def test_missing_coordinates_are_no_dimensions():
    """An untrained decoder of zeros promises one bit for each coordinate that is there."""
    x = (torch.rand(40, 6, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    x[:, 4:], x[:20, 3] = torch.nan, torch.nan
    vae = pv.VAE((6,), 2, network="linear", likelihood={"name": "missing-pixels", "of": "bernoulli"})
    with torch.no_grad():
        for parameter in vae.model.parameters():
            parameter.zero_()
    table = code_length(vae, x)
    assert table.loc["distortion", "bits_per_datum"] == pytest.approx(3.5, rel=1e-5)
    assert table.loc["distortion", "bits_per_dim"] == pytest.approx(1.0, rel=1e-5)
