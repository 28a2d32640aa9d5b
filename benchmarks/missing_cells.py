"""Tables with holes: what it costs an encoder not to see which cells are missing.

    python benchmarks/missing_cells.py [--rows 2000] [--epochs 80] [--seeds 3] [--threads 1]

A standardised table of 12 columns is drawn from three Gaussian factors, and a share of its cells is taken away at
random. The same model is trained with the default, whose encoder sees the mask beside the values, and without
(``encoder_sees_mask`` False, the encoder of versions before), from the same seeds and in turn. The decoder is
affine and its noise one number, so that log p(x) of the observed cells is a Gaussian's in closed form, here by
scipy: the gap to the ELBO on 1000 unseen rows is exact but for the ELBO's draws. The record, with the mean over
seeds and its standard error, goes to benchmarks/results/missing_cells.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import multivariate_normal
from torch import Tensor, nn

import ppl_vae as pv
from ppl_vae.networks import MLP, Linear

RESULTS = Path(__file__).parent / "results" / "missing_cells.json"
COLUMNS, FACTORS, NOISE, TEST_ROWS, DRAWS = 12, 3, 0.5, 1000, 64


@dataclass(frozen=True)
class AffineDecoder:
    """An encoder of two hidden layers before an affine decoder."""

    def encoder(self, event_shape: tuple[int, ...]) -> nn.Module:
        """[B, *event_shape] -> [B, 64]."""
        return MLP((64, 64), "silu").encoder(event_shape)

    def decoder(self, latent_dim: int, event_shape: tuple[int, ...], num_parameters: int) -> nn.Module:
        """[B, latent_dim] -> [B, num_parameters * prod(event_shape)]."""
        return Linear().decoder(latent_dim, event_shape, num_parameters)


def table(rows: int, share: float, seed: int) -> Tensor:
    """Standardised rows of which a share of cells is NaN; no row is empty."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(FACTORS, COLUMNS, generator=generator)
    z = torch.randn(rows, FACTORS, generator=generator)
    x = z @ weight + NOISE * torch.randn(rows, COLUMNS, generator=generator)
    holes = torch.rand(rows, COLUMNS, generator=generator) < share
    holes[holes.all(1), 0] = False
    return ((x - x.mean(0)) / x.std(0)).masked_fill(holes, torch.nan)


def log_evidence(vae: pv.VAE, x: Tensor) -> Tensor:
    """log N(x_o; b_o, W_o W_o' + s^2 I) of every row, in float64."""
    weight, bias = vae.model.decoder.weight.detach().double(), vae.model.decoder.bias.detach().double()
    noise = vae.model.likelihood.likelihood.log_sigma.detach().double().exp().square()
    covariance = (weight @ weight.T + noise * torch.eye(len(bias), dtype=torch.float64)).numpy()
    found = []
    for row in x.double():
        seen = (~row.isnan()).numpy()
        found.append(multivariate_normal(bias.numpy()[seen], covariance[seen][:, seen]).logpdf(row.numpy()[seen]))
    return torch.tensor(found, dtype=torch.float64)


def trained(x: Tensor, sees: bool, epochs: int, seed: int) -> pv.VAE:
    likelihood = {
        "name": "missing-pixels",
        "of": {"name": "gaussian", "sigma": "learned"},
        "encoder_sees_mask": sees,
    }
    vae = pv.VAE((COLUMNS,), FACTORS, network=AffineDecoder(), likelihood=likelihood, seed=seed)
    pv.fit(vae, x, epochs=epochs, lr=2e-3, batch_size=100, seed=seed, compile=False, device="cpu", progress=False)
    return vae


def measured(rows: int, share: float, epochs: int, seed: int) -> dict[str, dict[str, float]]:
    whole = table(rows + TEST_ROWS, share, seed)
    train, test = whole[:rows], whole[rows:]
    found = {}
    for name, sees in (("mask beside the values", True), ("values alone", False)):
        vae = trained(train, sees, epochs, seed)
        elbo = pv.evaluate(vae, test, num_particles=DRAWS, seed=seed).elbo.double()
        evidence = log_evidence(vae, test)
        found[name] = {
            "gap": (evidence - elbo).mean().item(),
            "elbo": elbo.mean().item(),
            "log_evidence": evidence.mean().item(),
        }
        print(f"share {share:g}, seed {seed}, {name}: {found[name]}", flush=True)
    return found


def summary(runs: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """The mean over seeds of every figure, and its standard error."""
    rows = {}
    for name in runs[0]:
        rows[name] = {}
        for key in runs[0][name]:
            values = [run[name][key] for run in runs]
            rows[name][key] = round(statistics.mean(values), 4)
            rows[name][f"{key}_stderr"] = round(statistics.stdev(values) / len(values) ** 0.5, 4)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("rows", 2000), ("epochs", 80), ("seeds", 3), ("threads", 1)):
        parser.add_argument(f"--{option}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    record = {
        "nats": "per row, on unseen rows",
        "rows": options.rows,
        "columns": COLUMNS,
        "factors": FACTORS,
        "epochs": options.epochs,
        "seeds": options.seeds,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    for share in (0.15, 0.3):
        runs = [measured(options.rows, share, options.epochs, seed) for seed in range(options.seeds)]
        record[f"{share:.0%} missing"] = summary(runs)
    RESULTS.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
