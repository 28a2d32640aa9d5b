"""Throughput of ``fit_many`` against single captured fits one after the other, and the difference of their results.

    python benchmarks/fit_many.py --members 16 --epochs 20

Both train the same digits VAEs on the same batches and draws. The first epoch, in which graphs are made, is left
out on both sides; of the rest the median epoch counts. Both take their steps in machine code.
"""

from __future__ import annotations

import argparse
import time

import torch

import ppl_vae as pv


def vaes(number: int, hidden: int) -> list[pv.VAE]:
    network = pv.networks.MLP((hidden,))
    return [pv.VAE((64,), latent_dim=8, network=network, seed=seed) for seed in range(number)]


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=400, help="units of the hidden layer")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of fit_many")
    return parser.parse_args()


def main() -> None:
    given = asked()
    x = pv.load_dataset("digits", binarize="threshold").train.x.reshape(-1, 64)
    x = x[: len(x) - len(x) % given.batch_size]
    options = {"epochs": given.epochs, "batch_size": given.batch_size, "compile": True, "progress": False}
    began, used = time.perf_counter(), time.process_time()
    singles = [pv.fit(vae, x, seed=k, **options) for k, vae in enumerate(vaes(given.members, given.hidden))]
    alone, of_one = time.perf_counter() - began, time.process_time() - used
    began, used = time.perf_counter(), time.process_time()
    many = pv.fit_many(vaes(given.members, given.hidden), x, num_threads=given.threads, **options)
    together, of_all = time.perf_counter() - began, time.process_time() - used
    single_epoch, epoch = (sum(r.history["seconds"][1:].median() for r in each) for each in (singles, many))
    pairs = zip(singles, many, strict=True)
    worst = max((a.history["train_elbo"] - b.history["train_elbo"]).abs().max() for a, b in pairs)
    modes = f"{singles[0].manifest['compile']} against {many[0].manifest['compile']}"
    print(f"{given.members} members, {len(x)} data, batch {given.batch_size}, hidden {given.hidden}; {modes}")
    print(
        f"single fits: {single_epoch:.3f} s an epoch of all; {alone:.1f} s and {of_one:.1f} s of processor in all"
    )
    print(f"fit_many:    {epoch:.3f} s an epoch of all; {together:.1f} s and {of_all:.1f} s of processor in all")
    print(f"throughput:  {single_epoch / epoch:.2f} times by epoch, {alone / together:.2f} times by the whole call")
    print(f"largest difference of a training ELBO: {worst:.2e} nats")


if __name__ == "__main__":
    main()
