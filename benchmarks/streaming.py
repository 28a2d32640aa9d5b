"""Training from a file against training from memory: rates as a ratio in turns, and the peak memory of each.

    python benchmarks/streaming.py --megabytes 2000 --rounds 3

Rows of 512 float32 numbers, written in parts, go through the same linear VAE in batches of 512. From memory: the
file read whole; memmap: ``np.load(mmap_mode="r")`` given to ``fit``; parquet: batches of a file that is iterated
anew each epoch, one part read ahead by a thread. Every turn is a process of its own with one thread of torch's, so
that its peak is its own; the turns take the three in a changing order. Peak is the resident set without pages of
the file that the system may drop (RssAnon), sampled, and beside it all that was resident (ru_maxrss). Written to
benchmarks/results/streaming.json after every round. Of 2000 megabytes the files take about 45 seconds of a core and
a round three to four minutes.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from peers.machine import machine

import ppl_vae as pv
from ppl_vae.files import write_json

RESULTS = Path(__file__).parent / "results" / "streaming.json"
COLUMNS, BATCH, PART = 512, 512, 1 << 14
KINDS = ("memory", "memmap", "parquet")


def write(folder: Path, rows: int) -> None:
    """The same rows as .npy and as parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    generator = np.random.default_rng(0)
    stored = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, COLUMNS))
    names = [f"x{i}" for i in range(COLUMNS)]
    with pq.ParquetWriter(folder / "x.parquet", pa.schema([(name, pa.float32()) for name in names])) as writer:
        for first in range(0, rows, PART):
            part = generator.standard_normal((min(PART, rows - first), COLUMNS), np.float32)
            stored[first : first + len(part)] = part
            writer.write_table(pa.table(dict(zip(names, part.T, strict=True))), row_group_size=4096)
    stored.flush()


class Parquet:
    """Batches of a parquet file, anew at every pass."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[torch.Tensor]:
        import pyarrow.parquet as pq

        # By default pyarrow keeps the bytes of all that it has read until the file ends.
        parts = pq.ParquetFile(self.path, pre_buffer=False).iter_batches(PART, use_threads=False)

        def read() -> torch.Tensor | None:
            part = next(parts, None)
            return None if part is None else torch.tensor(part.to_tensor().to_numpy())

        with ThreadPoolExecutor(1) as reader:  # one part ahead
            ahead = reader.submit(read)
            while (rows := ahead.result()) is not None:
                ahead = reader.submit(read)
                yield from rows.split(BATCH)


class Peak(threading.Thread):
    """The largest RssAnon, in MiB, looked at every 20 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.over = 0.0, False

    def run(self) -> None:
        """Look until it is over."""
        while not self.over:
            lines = Path("/proc/self/status").read_text().splitlines()
            found = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.most = max(self.most, found / 1024)
            time.sleep(0.02)


def turn(kind: str, folder: Path, rows: int) -> None:
    """Train two passes, and print the rate of the second and the peaks."""
    peak = Peak()
    peak.start()
    vae = pv.VAE((COLUMNS,), 8, network="linear", likelihood="gaussian")
    options: dict[str, object] = {"epochs": 2, "compile": False, "num_threads": 1, "progress": False}
    if kind == "parquet":
        result = pv.fit(vae, Parquet(folder / "x.parquet"), **options)
    else:
        x = np.load(folder / "x.npy", mmap_mode=None if kind == "memory" else "r")
        result = pv.fit(vae, x, batch_size=BATCH, **options)
    peak.over = True
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([rows / float(result.history["seconds"].iloc[-1]), peak.most, resident]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turn", nargs=3, help="used by the measurement itself")
    given = parser.parse_args()
    if given.turn:
        turn(given.turn[0], Path(given.turn[1]), int(given.turn[2]))
        return
    rows = given.megabytes * 2**20 // (4 * COLUMNS)
    found: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), rows)
        for number in range(given.rounds):
            for kind in random.Random(number).sample(KINDS, len(KINDS)):
                done = subprocess.run(
                    [sys.executable, __file__, "--turn", kind, folder, str(rows)],
                    check=True, capture_output=True, text=True,
                )  # fmt: skip
                found[kind].append(json.loads(done.stdout))
            tell(found, given.megabytes, rows, number + 1)


def tell(found: dict[str, list[list[float]]], megabytes: int, rows: int, rounds: int) -> None:
    """Print and write what these rounds found."""
    print(f"{rows} rows of {COLUMNS} numbers, {megabytes} MiB; {rounds} rounds")
    kinds = {}
    for kind, each in found.items():
        rates, own, resident = zip(*each, strict=True)
        ratios = [mine[0] / theirs[0] for mine, theirs in zip(each, found["memory"], strict=True)]
        print(
            f"{kind:8} {statistics.median(rates):8.0f} rows/s, {statistics.median(ratios):.2f} of memory "
            f"[{min(ratios):.2f}, {max(ratios):.2f}]; peak {max(own):.0f} MiB, resident {max(resident):.0f} MiB",
            flush=True,
        )
        kinds[kind] = {
            "rows_a_second": [round(rate) for rate in rates],
            "of_memory": [round(ratio, 3) for ratio in ratios],
            "peak_MiB": round(max(own)),
            "resident_MiB": round(max(resident)),
        }
    record = {
        "command": f"python benchmarks/streaming.py --megabytes {megabytes} --rounds {rounds}",
        "machine": machine(1),
        "rows": rows,
        "kinds": kinds,
    }
    write_json(RESULTS, record)


if __name__ == "__main__":
    main()
