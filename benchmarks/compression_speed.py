"""Bits-back coding in groups of images against a plain loop over images, and beside gzip: how many a second?

    PPL_VAE_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/compression_speed.py [--rounds 9] [--results FILE]

The loop is what one writes first: for each image the networks at one image, its code popped and its pixels and code
pushed by constriction, all pixels in one call; without ours' grid and guard band, and without the whitening that
the promised length needs. It is run in double precision, and in the model's own single one, whose messages another
machine may not decode. All run in turns over the same held-out images, and all decode every image exactly, which is
checked in every round. Ratios are of processor seconds, which neighbours on
the machine change less than seconds of a clock. MB are 10^6 bytes of pixels at one bit each, which is also what
gzip (level 9) is given. The VAEs are those of Pyro's tutorial, 400 hidden units, after a short training.
"""

from __future__ import annotations

import argparse
import copy
import functools
import math
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import constriction
import numpy as np
import torch
from torch import Tensor

import ppl_vae as pv
from ppl_vae.compression import decode_images, encode_images
from ppl_vae.compression.general_coders import PACKED
from ppl_vae.compression.stack import pseudo_random
from ppl_vae.files import write_json

RESULTS = Path(__file__).parent / "results" / "compression_speed.json"
LATENT_DIM, NUM_LOOPED, INITIAL_WORDS = 20, 200, 1000
HELD_OUT = {"digits": 1200, "mnist": 10000}
TRAINED_ON, EPOCHS = {"digits": 597, "mnist": 3000}, {"digits": 20, "mnist": 4}
LOOPS = {"loop": torch.float64, "loop in single precision": torch.float32}
T = TypeVar("T")


class Loop:
    """The plain loop.

    Args:
        vae: the model, of which a copy is used.
        dtype: the copy's precision.
        bin_bits: bins per unit of a code, as a power of two.
        half_range: codes lie between minus this and this.
    """

    def __init__(self, vae: pv.VAE, dtype: torch.dtype, bin_bits: int, half_range: int) -> None:
        models = constriction.stream.model
        self.vae, self.dtype = copy.deepcopy(vae).to(dtype).eval().requires_grad_(False), dtype
        self.width, most = 2.0**-bin_bits, half_range << bin_bits
        self.codes, self.pixels = models.QuantizedGaussian(-most, most), models.Bernoulli(perfect=False)
        self.prior = np.zeros(vae.latent_dim), np.full(vae.latent_dim, 1 / self.width)
        self.coder = constriction.stream.stack.AnsCoder(pseudo_random(INITIAL_WORDS, 0), True)

    def encode(self, x: Tensor) -> None:
        """Push images [N, *event_shape]."""
        for each in x.to(self.dtype):
            code = self.coder.decode(self.codes, *self._posterior(each))
            bits = each.numpy().ravel().astype(np.int32)
            self.coder.encode_reverse(bits, self.pixels, self._probability(code))
            self.coder.encode_reverse(code, self.codes, *self.prior)

    def decode(self, like: Tensor) -> Tensor:
        """Pop images of the shape of these [N, *event_shape]."""
        images = torch.empty_like(like)
        for index in reversed(range(len(like))):
            code = self.coder.decode(self.codes, *self.prior)
            bits = self.coder.decode(self.pixels, self._probability(code))
            image = torch.from_numpy(bits).to(self.dtype).reshape(like.shape[1:])
            self.coder.encode_reverse(code, self.codes, *self._posterior(image))
            images[index] = image
        return images

    def _posterior(self, image: Tensor) -> tuple[np.ndarray, np.ndarray]:
        q = self.vae.encode(image[None])
        return tuple(values[0].double().numpy() / self.width for values in (q.mean, q.stddev))

    def _probability(self, code: np.ndarray) -> np.ndarray:
        decoded = self.vae.decode(torch.from_numpy(code * self.width).to(self.dtype)[None])
        return decoded.mean.double().numpy().ravel()


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What work gives, and the processor seconds that it took."""
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


def one_round(vae: pv.VAE, x: Tensor) -> dict[str, float]:
    """Images a second of both sides, encoding and decoding, and of gzip."""
    message, ours_encodes = timed(lambda: encode_images(vae, x))
    decoded, ours_decodes = timed(lambda: decode_images(vae, message))
    found = {"ours, encoding": len(x) / ours_encodes, "ours, decoding": len(x) / ours_decodes}
    few, intact = x[:NUM_LOOPED], torch.equal(decoded, x)
    for name, dtype in LOOPS.items():
        loop = Loop(vae, dtype, message.bin_bits, message.half_range)
        _, loop_encodes = timed(functools.partial(loop.encode, few))
        looped, loop_decodes = timed(functools.partial(loop.decode, few))
        intact &= torch.equal(looped, few)
        found |= {f"{name}, encoding": len(few) / loop_encodes, f"{name}, decoding": len(few) / loop_decodes}
    if not intact:
        raise RuntimeError("an image did not come back as it was")
    packed, times = np.packbits(x.numpy().astype(np.uint8).reshape(-1)).tobytes(), math.ceil(20_000 / len(x))
    _, gzip_encodes = timed(lambda: [PACKED["gzip"](packed) for _ in range(times)])
    return found | {"gzip, encoding": times * len(x) / gzip_encodes}


def measured(name: str, rounds: int) -> dict[str, object]:
    """Train on one data set; medians over rounds, and the ratio of every round."""
    ds = pv.load_dataset(name, binarize="threshold")
    every = (torch.cat([ds.train.x, ds.test.x]) > 0.5).float()
    train, x = every[: TRAINED_ON[name]], every[-HELD_OUT[name] :]
    vae = pv.VAE(tuple(x.shape[1:]), LATENT_DIM, seed=0)
    pv.fit(vae, train, epochs=EPOCHS[name], lr=2e-3, seed=0, num_threads=1, device="cpu", progress=False)
    with torch.no_grad():
        found = [one_round(vae, x) for _ in range(rounds)]
    per_second = {key: statistics.median(each[key] for each in found) for key in found[0]}
    ratios = {
        f"{loop}, {kind}": [round(each[f"ours, {kind}"] / each[f"{loop}, {kind}"], 1) for each in found]
        for loop in LOOPS
        for kind in ("encoding", "decoding")
    }
    megabytes = x[0].numel() / 8 / 1e6
    return {
        "images": len(x),
        "images_a_second": {key: round(value) for key, value in per_second.items()},
        "MB_a_second": {key: round(value * megabytes, 3) for key, value in per_second.items()},
        "ours_over_the_loop": {f"{kind}, every round": values for kind, values in ratios.items()}
        | {f"{kind}, median": round(statistics.median(values), 1) for kind, values in ratios.items()},
    }


def main() -> None:
    """Train, encode and decode in turns, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="in turns")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, object] = {
        "command": f"python benchmarks/compression_speed.py --rounds {options.rounds}",
        "machine": f"{platform.machine()}, one thread, torch {torch.__version__}",
    }
    for name in HELD_OUT:
        record[name] = measured(name, options.rounds)
        print(name, record[name], flush=True)
    write_json(options.results, record)


if __name__ == "__main__":
    main()
