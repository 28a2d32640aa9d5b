"""``ppl-vae compress`` and ``decompress``: a file and back, and one line for a mistake."""

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae.cli import main

pytest.importorskip("constriction")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    arguments = ("train", "vae", "--data", "digits", "--latent-dim", "4", "--epochs", "5", "--out", folder)
    assert exit_code(*arguments) == 0
    return folder, pv.load_dataset("digits", binarize="dynamic").test.x


def exit_code(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


@pytest.mark.slow
def test_a_file_and_back(run, tmp_path, capsys):
    folder, x = run
    file = tmp_path / "digits.pvbb"
    assert exit_code("compress", folder, "--out", file) == 0
    shown = capsys.readouterr().out
    assert "ratio 1.0" in shown or "ratio 0.99" in shown
    assert "gzip" in shown
    assert exit_code("decompress", folder, file) == 0
    with np.load(tmp_path / "digits.npz") as content:
        torch.testing.assert_close(torch.from_numpy(content["x"]).float(), x, rtol=0, atol=0)


@pytest.mark.slow
def test_a_damaged_file_is_one_line(run, tmp_path, capsys):
    folder, _ = run
    (tmp_path / "bad.pvbb").write_bytes(b"PVBB nonsense")
    assert exit_code("decompress", folder, tmp_path / "bad.pvbb") == 2
    shown = capsys.readouterr().err.strip()
    assert "bad.pvbb: damaged or cut off" in shown
    assert len(shown.splitlines()) == 1
    assert not (tmp_path / "bad.npz").exists()
