"""pythae's own trainer on its own VAE, with the networks of the others."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import time
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor

from . import torch_vae
from .contender import Run, Task


class Encoder(BaseEncoder):
    """Mean and log variance under pythae's names."""

    def __init__(self, net: torch_vae.TorchVAE) -> None:
        super().__init__()
        self.encoder, self.loc_head, self.scale_head = net.encoder, net.loc_head, net.scale_head

    def forward(self, x: Tensor) -> ModelOutput:
        """x [B, *event_shape]."""
        features = self.encoder(x)
        return ModelOutput(embedding=self.loc_head(features), log_covariance=self.scale_head(features))


class Decoder(BaseDecoder):
    """Pixel means: pythae's cross entropy takes probabilities."""

    def __init__(self, net: torch_vae.TorchVAE, event_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.decoder, self.event_shape = net.decoder, event_shape

    def forward(self, z: Tensor) -> ModelOutput:
        """z [B, L]."""
        return ModelOutput(reconstruction=self.decoder(z).sigmoid().reshape(-1, *self.event_shape))


class Clock(TrainingCallback):
    """When epochs begin and end, and their losses."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self._began = 0.0

    def on_epoch_begin(self, training_config: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_epoch_end(self, training_config: Any, **kwargs: Any) -> None:
        """Stop the clock."""
        self.seconds.append(time.perf_counter() - self._began)

    def on_log(self, training_config: Any, logs: dict[str, float], **kwargs: Any) -> None:
        """Note the loss."""
        self.losses.append(logs["train_epoch_loss"])


class Trainer:
    """One model, trained further by every call of pythae's trainer."""

    def __init__(self, task: Task) -> None:
        self.task, workload = task, task.workload
        net = torch_vae.TorchVAE(workload)
        net.load_state_dict(dict(task.weights))
        options: dict[str, Any] = {
            "input_dim": workload.event_shape,
            "latent_dim": workload.latent_dim,
            "reconstruction_loss": "bce",
        }
        parts = {"encoder": Encoder(net), "decoder": Decoder(net, workload.event_shape)}
        if workload.particles == 1:
            self.model = VAE(VAEConfig(**options), **parts)
        else:
            self.model = IWAE(IWAEConfig(number_samples=workload.particles, **options), **parts)
        self.data = BaseDataset(task.x, torch.zeros(len(task.x)))

    def run(self, epochs: int) -> Run:
        """Train that many epochs more; bars and messages go nowhere."""
        if self.task.threads is not None:
            torch.set_num_threads(self.task.threads)
        clock, nowhere = Clock(), io.StringIO()
        with (
            tempfile.TemporaryDirectory() as folder,
            quiet(),
            contextlib.redirect_stderr(nowhere),
            contextlib.redirect_stdout(nowhere),
        ):
            config = BaseTrainerConfig(
                output_dir=folder,
                num_epochs=epochs,
                learning_rate=self.task.workload.lr,
                per_device_train_batch_size=self.task.workload.batch,
                no_cuda=self.task.device != "cuda",
            )
            BaseTrainer(self.model, self.data, training_config=config, callbacks=[clock]).train()
        return Run(clock.seconds, clock.losses)


@contextlib.contextmanager
def quiet():
    """No message below an error inside."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
