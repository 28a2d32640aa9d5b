"""Holes in the latent space: prior draws decoded by an autoencoder against those of a VAE, with a number each.

    python benchmarks/latent_holes.py [--data digits|mnist] [--root FOLDER] [--epochs 60] [--latent-dim 8]

An autoencoder and a VAE of the same network, data, seed and epochs, under a Bernoulli on dynamically binarised
images. 2000 codes each are drawn and decoded to means: from N(0, I), and for the autoencoder, whose codes nothing
holds there, also from the Gaussian of its codes (their mean and covariance) and from a mixture of 10 Gaussians
fitted to them afterwards. A classifier trained on real grey images (its held-out accuracy is recorded) gives the
confidence; distances are to the nearest training image. The row "VAE, codes of other images" is what it can
do at all. Numbers go to benchmarks/results/latent_holes.json, the figure beside them as latent_holes_DATA.png.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import torch
from sklearn.neural_network import MLPClassifier

import ppl_vae as pv
from ppl_vae.diagnostics import check_latent_holes, run_latent_holes
from ppl_vae.models import with_post_hoc_prior

RESULTS = Path(__file__).parent / "results"
DRAWS = 2000


def held_out_classifier(ds: pv.data.Dataset, seed: int) -> tuple:
    """A function from images to probabilities, and its accuracy on the test split."""
    network = MLPClassifier((128,), early_stopping=True, max_iter=60, random_state=seed)
    network.fit(ds.train.x.flatten(1).numpy(), ds.train.y.numpy())
    accuracy = network.score(ds.test.x.flatten(1).numpy(), ds.test.y.numpy())
    return lambda x: torch.from_numpy(network.predict_proba(x.flatten(1).numpy())), accuracy


@torch.no_grad()
def gaussian_of(codes: torch.Tensor, n: int) -> torch.Tensor:
    """Draws [n, L] of the Gaussian with the codes' mean and covariance."""
    return torch.distributions.MultivariateNormal(codes.mean(0), codes.T.cov()).sample((n,))


@torch.no_grad()
def decoded_draws(models: dict, ds: pv.data.Dataset, seed: int) -> dict[str, torch.Tensor]:
    """Images [2000, *event_shape] by where their codes come from."""
    autoencoder, vae = models["autoencoder"], models["vae"]
    torch.manual_seed(seed)
    codes = autoencoder.encode(ds.train.x).mean
    mixture = with_post_hoc_prior(autoencoder, ds.train.x, num_components=10, seed=seed)
    others = ds.test.x[torch.randperm(len(ds.test))[:DRAWS]]
    standard = torch.randn(DRAWS, codes.shape[1])
    return {
        "VAE, draws of its prior": vae.sample(DRAWS),
        "autoencoder, draws of N(0, I)": autoencoder.decode(standard).mean,
        "autoencoder, Gaussian of its codes": autoencoder.decode(gaussian_of(codes, DRAWS)).mean,
        "autoencoder, mixture fitted to its codes": mixture.sample(DRAWS),
        "VAE, codes of other images": vae.decode(vae.encode(others).sample()).mean,
    }


def measure(options: argparse.Namespace) -> tuple[dict, dict[str, torch.Tensor]]:
    """Train both, decode, judge."""
    torch.set_num_threads(options.threads)
    where = {"root": options.root} if options.root else {}
    grey = pv.load_dataset(options.data, **where)
    ds = pv.load_dataset(options.data, binarize="dynamic", **where)
    classifier, accuracy = held_out_classifier(grey, options.seed)
    models, training = {}, {}
    for name in ("autoencoder", "vae"):
        recipe = pv.make(name, ds.event_shape, latent_dim=options.latent_dim, seed=options.seed)
        started = time.perf_counter()
        pv.fit(recipe, ds, epochs=options.epochs, lr=options.lr, seed=options.seed, progress=False, device="cpu")
        found = pv.evaluate(recipe.vae, ds.test.x, num_particles=8)
        training[name] = {
            found.score: round(found.elbo.mean().item(), 2),
            "seconds": round(time.perf_counter() - started, 1),
        }
        models[name] = recipe.vae
    draws = decoded_draws(models, ds, options.seed)
    holes = {name: run_latent_holes(x, grey.train.x, grey.test.x, classifier) for name, x in draws.items()}
    measured = {
        "classifier_accuracy": round(accuracy, 4),
        "training": training,
        "holes": {
            name: {key: round(value, 4) for key, value in found.summary().items()}
            | {"verdict": str(check_latent_holes(found))}
            for name, found in holes.items()
        },
    }
    labels = {f"{name}: {holes[name].summary()['in_hole']:.0%} in holes": x for name, x in draws.items()}
    return measured, {**labels, "real, held out": grey.test.x}


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", choices=("digits", "mnist"))
    parser.add_argument("--root", help="of the MNIST files")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS, help="a folder")
    options = parser.parse_args()
    measured, images = measure(options)
    options.results.mkdir(parents=True, exist_ok=True)
    title = f"{options.data}: images decoded from draws of the latent space"
    figure = pv.plots.plot_latent_holes(images, title=title)
    figure.savefig(options.results / f"latent_holes_{options.data}.png", dpi=160)
    path = options.results / "latent_holes.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    measured |= {
        "command": f"python benchmarks/latent_holes.py --data {options.data} --epochs {options.epochs} "
        f"--lr {options.lr:g} --latent-dim {options.latent_dim} --seed {options.seed}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} thread, under other load",
        "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
    }
    path.write_text(json.dumps(stored | {options.data: measured}, indent=1) + "\n")
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
