"""Training by two real processes: the numbers of one, uneven parts, refusals, a rank that fails, one that dies."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from ppl_vae.errors import ModelError
from ppl_vae.inference.training.ranks import find_ranks
from tests.inference.small_runs import D, N, small_data, small_vae, train
from tests.inference.training import rank_cases

ROOT = Path(__file__).parents[3]
# Same numbers: weights and history, but the seconds, to the rounding of a sum in another order.
ALIKE = ("uneven", "lone_rows", "traced", "own_batches")
OTHERS = ("still", "loader", "vae", "counted", "whole", "halted", "continued", "stopped")
REFUSED = {
    "free_bits": "ModelError: FreeBits looks at a batch as a whole",
    "batch_norm": "ModelError: BatchNorm1d 'encoder",
    "other_data": "ModelError: the ranks train different things: data is",
    "other_batches": "DataError: the ranks see different batches (batch 1",
    "fails_at_once": "data have NaN or infinite values",
    "fails_in_a_step": "a program of rank 1 broke",
}


def run(folder, cases, number=2):
    """Start the ranks; their exit codes and what they said."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.inference.training.rank_cases"]
    started = [
        subprocess.Popen(
            [*command, str(rank), str(number), str(folder), *cases],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(number)
    ]  # fmt: skip
    said = [process.communicate(timeout=240)[0] for process in started]
    return [process.returncode for process in started], said


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    # The last case ends rank 1 for good.
    codes, said = run(folder, [*ALIKE, *OTHERS, *REFUSED, "killed"])
    assert codes == [0, -9], said
    return folder


def history(folder, case, rank=0):
    return pd.read_json(folder / f"{case}-{rank}.json").drop(columns="seconds")


@pytest.mark.slow
@pytest.mark.parametrize("case", ALIKE)
def test_two_ranks_take_the_steps_of_one_process(folder, case):
    one = getattr(rank_cases, case)(0, folder)
    two = load_file(folder / f"{case}-0.safetensors")
    for name, tensor in one.model.state_dict().items():
        torch.testing.assert_close(two[name], tensor, rtol=2e-5, atol=2e-6)
    pd.testing.assert_frame_equal(history(folder, case), one.history.drop(columns="seconds"), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", [*ALIKE, *OTHERS])
def test_both_ranks_end_with_the_same_numbers(folder, case):
    first, second = (load_file(folder / f"{case}-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert pd.read_json(folder / f"{case}-0.json").equals(pd.read_json(folder / f"{case}-1.json"))


@pytest.mark.slow
def test_every_datum_counts_once_in_the_numbers_of_an_epoch(folder):
    """At a rate that moves nothing the epoch's ELBO is the mean over all data of an exact sum."""
    exact = rank_cases.Mixture().exact_elbo(small_data()).double().mean()
    assert float(history(folder, "still").train_elbo[0]) == pytest.approx(float(exact), rel=1e-6)


@pytest.mark.slow
def test_a_loader_that_shuffles_gives_both_ranks_the_same_order(folder):
    assert history(folder, "loader").step.tolist() == [-(-N // 8), 2 * -(-N // 8)]


@pytest.mark.slow
def test_a_resumed_run_is_the_unbroken_one(folder):
    whole, continued = (load_file(folder / f"{case}-0.safetensors") for case in ("whole", "continued"))
    assert all(torch.equal(whole[name], continued[name]) for name in whole)
    pd.testing.assert_frame_equal(history(folder, "whole"), history(folder, "continued"), check_exact=True)


@pytest.mark.slow
def test_one_process_continues_what_two_began(folder):
    with pytest.warns(UserWarning, match="continued on 1 ranks, begun on 2"):
        result = train(
            small_vae(), small_data(), epochs=6, validation=0.2, out_dir=folder / "halted-run", resume=True
        )
    assert result.epochs_run == 6
    before = history(folder, "continued")
    pd.testing.assert_frame_equal(result.history.drop(columns="seconds")[:4], before, rtol=1e-12)


@pytest.mark.slow
def test_a_callback_of_the_first_rank_stops_all(folder):
    assert len(history(folder, "stopped")) == len(history(folder, "stopped", 1)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_in_parts_is_refused_on_both(folder, case):
    first, second = ((folder / f"{case}-{rank}.txt").read_text() for rank in (0, 1))
    assert REFUSED[case] in first
    assert REFUSED[case] in second


@pytest.mark.slow
def test_a_failure_of_one_rank_is_told_on_the_other_with_its_words(folder):
    assert (
        folder / "fails_in_a_step-0.txt"
    ).read_text() == "RankError: rank 1: ValueError: a program of rank 1 broke"
    assert (folder / "fails_in_a_step-1.txt").read_text().startswith("ValueError: a program of rank 1 broke")


@pytest.mark.slow
def test_a_killed_rank_ends_the_other_with_one_error_and_a_checkpoint_that_goes_on(folder):
    said = (folder / "killed-0.txt").read_text()
    assert said.startswith("RankError: rank 1 of 2 has gone, and the run ends with it")
    with pytest.warns(UserWarning, match="continued on 1 ranks"):
        result = rank_cases.killed(0, folder, resume=True)
    # What two ranks had done and one goes on with is what one does alone.
    alone = rank_cases.of_mixture(epochs=5)
    for name, tensor in alone.model.state_dict().items():
        torch.testing.assert_close(result.model.state_dict()[name], tensor, rtol=2e-5, atol=2e-6)


def test_without_a_group_auto_trains_alone_and_true_is_refused():
    assert find_ranks("auto", torch.device("cpu")) is None
    with pytest.raises(ModelError, match="needs a process group"):
        train(small_vae(), small_data(), distributed=True)
    with pytest.raises(ModelError, match="must be True, False or 'auto'"):
        train(small_vae(), torch.zeros(4, D), distributed="ddp")


@pytest.mark.slow
def test_three_ranks_of_which_some_have_no_data(tmp_path):
    codes, said = run(tmp_path, ["lone_rows", "uneven"], number=3)
    assert codes == [0, 0, 0], said
    for case in ("lone_rows", "uneven"):
        one = getattr(rank_cases, case)(0, tmp_path)
        for name, tensor in one.model.state_dict().items():
            torch.testing.assert_close(
                load_file(tmp_path / f"{case}-2.safetensors")[name], tensor, rtol=2e-5, atol=2e-6
            )
