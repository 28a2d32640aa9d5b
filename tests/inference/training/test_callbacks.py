"""Callbacks of fit: every row of the history, a way to stop, ready loggers, Ctrl-C in a notebook."""

import os
import signal

import pandas as pd
import pytest

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.training import loop
from tests.inference.small_runs import small_data, small_vae, train, weight_bytes


def test_a_callback_gets_each_row_of_the_history_and_the_throughput():
    rows = []
    result = train(small_vae(), small_data(), epochs=3, validation=0.2, callbacks=rows.append)
    told = pd.DataFrame(rows)
    speed = told.pop("data_per_second")
    pd.testing.assert_frame_equal(told, result.history)
    number = len(small_data()) - round(0.2 * len(small_data()))
    assert (speed * told["seconds"]).to_numpy() == pytest.approx(number)


@pytest.mark.slow
def test_a_callback_stops_the_run_after_the_epoch_as_if_there_were_no_more(tmp_path):
    def enough(row):
        return "stop" if row["epoch"] == 2 else None

    two = train(small_vae(), small_data(), epochs=2)
    result = train(small_vae(), small_data(), epochs=9, callbacks=[enough], out_dir=tmp_path)
    assert result.epochs_run == 2
    assert weight_bytes(result.model) == weight_bytes(two.model)
    assert result.manifest["stopped_by"].endswith("enough after epoch 2")
    resumed = train(small_vae(), small_data(), epochs=4, out_dir=tmp_path, resume=True)
    assert resumed.epochs_run == 4
    assert "stopped_by" not in resumed.manifest


@pytest.mark.slow
def test_what_is_no_callback_is_refused_and_an_error_in_one_leaves_a_whole_epoch(tmp_path):
    with pytest.raises(ModelError, match="callbacks: expected functions"):
        train(small_vae(), small_data(), epochs=1, callbacks=["csv"])
    with pytest.raises(ModelError, match="lambda>: expected None or 'stop', got 3"):
        train(small_vae(), small_data(), epochs=1, callbacks=lambda row: 3)

    def broken(row):
        raise OSError("disk full")

    vae = small_vae()
    with pytest.raises(OSError, match="disk full"):
        train(vae, small_data(), epochs=3, callbacks=broken, out_dir=tmp_path)
    assert not vae.training
    assert weight_bytes(vae) == weight_bytes(train(small_vae(), small_data(), epochs=1).model)
    assert train(small_vae(), small_data(), epochs=2, out_dir=tmp_path, resume=True).epochs_run == 2


@pytest.mark.slow
def test_the_csv_has_a_line_per_epoch_and_goes_on_after_a_resume(tmp_path):
    path = tmp_path / "log" / "history.csv"
    for epochs in (2, 4):
        logger = inf.CSVLogger(path)
        result = train(
            small_vae(), small_data(), epochs=epochs, out_dir=tmp_path / "run", resume=True, callbacks=logger
        )
    written = pd.read_csv(path)
    assert written["epoch"].tolist() == [1, 2, 3, 4]
    assert written["train_elbo"].tolist() == pytest.approx(result.history["train_elbo"].tolist())
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ModelError, match=r"other\.csv: holds a table without a column 'epoch'"):
        inf.CSVLogger(tmp_path / "other.csv")


def test_tensorboard_reads_what_was_told(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(small_vae(), small_data(), epochs=2, callbacks=inf.TensorBoardLogger(tmp_path))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    told = [event.value for event in events.Scalars("train_elbo")]
    assert told == pytest.approx(result.history["train_elbo"].tolist())


def test_mlflow_keeps_what_was_told_in_a_folder(tmp_path):
    tracking = pytest.importorskip("mlflow.tracking")
    logger = inf.MLflowLogger(tmp_path)
    result = train(small_vae(), small_data(), epochs=2, callbacks=logger)
    client = tracking.MlflowClient(tmp_path.as_uri())
    told = [metric.value for metric in client.get_metric_history(logger.run_id, "train_elbo")]
    assert told == pytest.approx(result.history["train_elbo"].tolist())
    assert client.get_run(logger.run_id).info.status == "FINISHED"


@pytest.mark.slow
def test_wandb_writes_offline(tmp_path):
    pytest.importorskip("wandb")
    train(small_vae(), small_data(), epochs=2, callbacks=inf.WandbLogger("tests", dir=str(tmp_path)))
    assert list(tmp_path.rglob("*.wandb"))


@pytest.mark.parametrize(
    ("logger", "library"),
    [("TensorBoardLogger", "tensorboard"), ("WandbLogger", "wandb"), ("MLflowLogger", "mlflow")],
)
def test_a_library_that_is_not_installed_is_named(logger, library, monkeypatch, tmp_path):
    for name in ("tensorboard", "torch.utils.tensorboard", "wandb", "mlflow", "mlflow.tracking"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ModelError, match=rf"needs {library}: pip install 'ppl_vae\[{library}\]'"):
        getattr(inf, logger)(str(tmp_path))


def test_ctrl_c_in_a_notebook_ends_the_epoch_and_gives_the_result_so_far(monkeypatch):
    monkeypatch.setattr(loop, "in_notebook", lambda: True)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    run, calls = pv.inference.AnalyticKL.run, []

    def interrupted(self, model, guide, *args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return run(self, model, guide, *args, **kwargs)

    try:
        two = train(small_vae(), small_data(), epochs=1, compile=False)
        monkeypatch.setattr(pv.inference.AnalyticKL, "run", interrupted)
        with pytest.warns(UserWarning, match="stopped by Ctrl-C in epoch 1, which was finished"):
            result = train(small_vae(), small_data(), epochs=50, compile=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.epochs_run == 1
    assert result.manifest["stopped_by"] == "Ctrl-C in epoch 1"
    assert weight_bytes(result.model) == weight_bytes(two.model)
