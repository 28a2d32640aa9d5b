import pytest

from tests.inference.small_runs import N, small_data, small_dataset, small_vae, train


def test_silent_where_no_progress_is_asked_for(capfd):
    train(small_vae(), small_dataset(), validation=0.2, patience=2, progress=False)
    assert capfd.readouterr() == ("", "")


def test_the_bar_goes_to_stderr_with_loss_throughput_and_score(capfd):
    result = train(small_vae(), small_dataset(), epochs=4, progress=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    last = captured.err.strip().split("\r")[-1]
    assert "100%" in last
    assert f"{4 * N}" in last
    assert "epoch 4" in last
    assert f"loss {result.history['loss'].iloc[-1]:.2f}" in last
    assert f"test ELBO {result.history['test_elbo'].iloc[-1]:.2f}" in last
    assert "img/s" in last


@pytest.mark.parametrize(("options", "score"), [({}, "train ELBO"), ({"validation": 0.2}, "validation ELBO")])
def test_the_score_that_is_shown(options, score, capfd):
    train(small_vae(), small_data(), epochs=1, progress=True, **options)
    assert score in capfd.readouterr().err


def test_batches_of_unknown_number_have_a_bar_without_an_end(capfd):
    train(small_vae(), list(small_data().split(16)), epochs=1, progress=True)
    assert "50.0img" in capfd.readouterr().err


@pytest.mark.slow
def test_the_bar_of_a_continued_run_counts_what_is_left(tmp_path, capfd):
    train(small_vae(), small_data(), epochs=3, out_dir=tmp_path)
    train(small_vae(), small_data(), epochs=4, out_dir=tmp_path, resume=True, progress=True)
    assert f"{N:.1f}/{N:.1f}" in capfd.readouterr().err.strip().split("\r")[-1]
    with pytest.warns(UserWarning, match="has 4 epochs already"):
        train(small_vae(), small_data(), epochs=2, out_dir=tmp_path, resume=True, progress=True)
