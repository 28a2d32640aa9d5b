"""Callbacks of ``fit`` that keep the history elsewhere: a CSV file, TensorBoard, Weights & Biases, MLflow.

Each loads its library when it is made, and writes what it was told before the next epoch begins. The column "epoch"
is the step of theirs.
"""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppl_vae.errors import ModelError
from ppl_vae.extras import imported
from ppl_vae.files import as_path
from ppl_vae.inference.training.callbacks import Row


class CSVLogger:
    """Writes a line per epoch into a file, which can be read while the run goes on.

    A file that is there is continued, as a resumed run does; lines of epochs that are told again are replaced.

    Args:
        path: of the file; its folder is made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = as_path("path", path)
        self.rows = self._before()

    def __call__(self, row: Row) -> None:
        """Write the row of an epoch."""
        self.rows = [kept for kept in self.rows if float(kept["epoch"]) < row["epoch"]]
        self.rows.append({name: str(value) for name, value in row.items()})
        names = list(dict.fromkeys(name for kept in self.rows for name in kept))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)

    def _before(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        if any("epoch" not in row for row in rows):
            raise ModelError(
                f"{self.path}: holds a table without a column 'epoch', of no run of ours; nothing was touched"
            )
        return rows


class TensorBoardLogger:
    """Writes scalars for TensorBoard (extra ``tensorboard``).

    Args:
        folder: of the event files, as ``tensorboard --logdir`` takes it.

    Raises:
        ModelError: tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        writers = _imported("torch.utils.tensorboard", "tensorboard")
        self.writer = writers.SummaryWriter(str(as_path("folder", folder)))

    def __call__(self, row: Row) -> None:
        """Write the row of an epoch."""
        for name, value in _told(row).items():
            self.writer.add_scalar(name, value, int(row["epoch"]))
        self.writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self.writer.close()


class WandbLogger:
    """Logs to Weights & Biases (extra ``wandb``), offline unless told otherwise.

    Args:
        project: its name.
        mode: "offline", "online" or "disabled".
        **options: further ones of ``wandb.init``, such as dir, name or config.

    Raises:
        ModelError: wandb is not installed.
    """

    def __init__(self, project: str = "ppl_vae", mode: str = "offline", **options: Any) -> None:
        self.run = _imported("wandb", "wandb").init(project=project, mode=mode, **options)

    def __call__(self, row: Row) -> None:
        """Log the row of an epoch."""
        self.run.log(_told(row), step=int(row["epoch"]))

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()


class MLflowLogger:
    """Logs to MLflow (extra ``mlflow``), by default into a folder.

    Args:
        folder: of the file store, where no ``tracking_uri`` is given.
        experiment: its name.
        tracking_uri: of a server.

    Raises:
        ModelError: mlflow is not installed.
    """

    def __init__(
        self, folder: str | Path = "mlruns", experiment: str = "ppl_vae", tracking_uri: str | None = None
    ) -> None:
        tracking = _imported("mlflow.tracking", "mlflow")
        with _file_store_allowed():
            self.client = tracking.MlflowClient(tracking_uri or as_path("folder", folder).resolve().as_uri())
            found = self.client.get_experiment_by_name(experiment)
        number = self.client.create_experiment(experiment) if found is None else found.experiment_id
        self.run_id = self.client.create_run(number).info.run_id

    def __call__(self, row: Row) -> None:
        """Log the row of an epoch."""
        for name, value in _told(row).items():
            self.client.log_metric(self.run_id, name, value, step=int(row["epoch"]))

    def close(self) -> None:
        """Mark the run as finished."""
        self.client.set_terminated(self.run_id)


@contextlib.contextmanager
def _file_store_allowed() -> Iterator[None]:
    """Let MLflow open a store of files, for which it asks by this variable; the environment is left as found."""
    name, before = "MLFLOW_ALLOW_FILE_STORE", os.environ.get("MLFLOW_ALLOW_FILE_STORE")
    os.environ.setdefault(name, "true")
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


def _told(row: Row) -> Row:
    return {name: float(value) for name, value in row.items() if name != "epoch"}


def _imported(module: str, extra: str) -> Any:
    need, install = f"the callback for {extra}", f"'ppl_vae[{extra}]'"
    # By itself first, so that it is named where torch's module for it is what is imported.
    imported(extra, need, install)
    return imported(module, need, install)
