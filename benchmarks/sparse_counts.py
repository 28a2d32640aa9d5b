"""Train on an .h5ad file of sparse counts, and say how much memory that takes beside the dense array.

    python benchmarks/sparse_counts.py [CELLS] [GENES]

Counts are Poisson with 1 in 20 cells of the table above zero. The peak is of the whole process, with torch itself;
the base is what it takes before the file is opened. Written to benchmarks/results/sparse_counts.json.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from peers.machine import machine

import ppl_vae as pv
from ppl_vae.files import write_json
from ppl_vae.networks import MLP

RESULTS = Path(__file__).parent / "results" / "sparse_counts.json"
CELLS, GENES, PER_CELL = 100_000, 2_000, 100


def write(path: Path, cells: int, genes: int) -> None:
    """An .h5ad file of ``cells`` x ``genes`` counts, written in parts."""
    generator, per_cell = np.random.default_rng(0), min(PER_CELL, genes // 2)
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        x = file.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "shape": (cells, genes)})
        stored = cells * per_cell
        values = x.create_dataset("data", (stored,), "f4")
        columns = x.create_dataset("indices", (stored,), "i4")
        x["indptr"] = np.arange(0, stored + 1, per_cell)
        for first in range(0, cells, 1000):
            count = min(1000, cells - first)
            chosen = np.argsort(generator.random((count, genes)), 1)[:, :per_cell]
            where = slice(first * per_cell, (first + count) * per_cell)
            columns[where] = np.sort(chosen, 1).ravel()
            values[where] = 1 + generator.poisson(1.0, count * per_cell)
        for name, size in (("obs", cells), ("var", genes)):
            group = file.create_group(name)
            group.attrs["_index"] = "_index"
            group.create_dataset("_index", data=np.array([f"{name}{i}" for i in range(size)], object), dtype=text)


def megabytes() -> float:
    """The largest memory of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Write, train an epoch, evaluate, and print."""
    cells, genes = (int(a) for a in sys.argv[1:3]) if len(sys.argv) > 2 else (CELLS, GENES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "counts.h5ad"
        write(path, cells, genes)
        base = megabytes()
        vae = pv.VAE((genes,), 10, network=MLP((128,)), likelihood="negative-binomial")
        started = time.perf_counter()
        result = pv.fit(vae, path, epochs=1, batch_size=256, device="cpu", progress=False)
        trained = megabytes()
        seconds = time.perf_counter() - started
        elbo = pv.evaluate(result.model, path)
        record = {
            "command": f"python benchmarks/sparse_counts.py {cells} {genes}",
            "machine": machine(),
            "dense_MB": round(4 * cells * genes / 2**20),
            "base_MB": round(base),
            "peak_of_fit_MB": round(trained),
            "peak_with_evaluate_MB": round(megabytes()),
            "seconds_an_epoch": round(seconds, 1),
            "elbo": round(elbo.summary()["elbo"], 1),
            "num_data": elbo.num_data,
        }
    print(record)
    write_json(RESULTS, record)


if __name__ == "__main__":
    main()
