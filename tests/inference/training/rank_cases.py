"""What two ranks do, one case after the other; ``test_ranks`` starts them as processes and judges what they leave.

Called with the number of this rank, of all ranks, the folder they share, and the names of the cases.
"""

import datetime
import os
import signal
import sys
from pathlib import Path
from unittest import mock

import pyro
import pyro.distributions as dist
import torch
from safetensors.torch import save_file
from torch import distributed, nn

import ppl_vae as pv
from ppl_vae.errors import PplVaeError
from ppl_vae.inference.compilation import step_choice
from tests.inference.small_runs import D, small_data, small_dataset, small_vae, train

CLUSTERS = 3
# The runs of a program before some step after the first epoch: each step is one, and some looks come before all.
LATE = 22


class Mixture(nn.Module):
    """A mixture of Gaussians with a guide of its own: its ELBO is a sum over clusters, without a draw."""

    def __init__(self, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.loc = nn.Parameter(torch.randn(CLUSTERS, D, generator=generator))
        self.logits = nn.Parameter(torch.randn(CLUSTERS, generator=generator))
        self.slope = nn.Parameter(torch.randn(D, CLUSTERS, generator=generator))
        self.unused = nn.Parameter(torch.zeros(2))

    def model(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(logits=self.logits))
            pyro.sample("x", dist.Normal(self.loc[c], 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Categorical(logits=x @ self.slope))

    @torch.no_grad()
    def exact_elbo(self, x):
        """The ELBO of every datum, summed over clusters: [N]."""
        q = (x @ self.slope).log_softmax(-1)
        likelihood = dist.Normal(self.loc, 1.0).log_prob(x.unsqueeze(1)).sum(-1)
        return (q.exp() * (likelihood + self.logits.log_softmax(-1) - q)).sum(-1)


class Sudden(Mixture):
    """Does something from its ``call``-th run on, on rank 1."""

    def __init__(self, rank, call, what):
        super().__init__()
        self.rank, self.call, self.what, self.calls = rank, call, what, []

    def model(self, x):
        if self.rank == 1:
            self.calls.append(1)
            if len(self.calls) >= self.call:
                self.what()
        super().model(x)


ENUMERATED = {"elbo": pv.inference.Enumeration(CLUSTERS)}


def of_mixture(data=None, **options):
    return train(Mixture(), small_data() if data is None else data, **{**ENUMERATED, **options})


def uneven(rank, folder):
    return of_mixture(max_grad_norm=1.0, schedule="cosine", validation=0.2, patience=50)


def lone_rows(rank, folder):
    """The last batch of an epoch has one datum, so that rank 1 has none."""
    return of_mixture(small_data(49), optimizer=torch.optim.SGD)


def traced(rank, folder):
    # Put back: the one process that ranks are compared with is that of the tests.
    with mock.patch.object(step_choice, "SECONDS_TO_TRACE", 0.0):
        return of_mixture()


def still(rank, folder):
    return of_mixture(lr=1e-12, epochs=1)


def own_batches(rank, folder):
    return of_mixture(list(small_data().split(7)))


def loader(rank, folder):
    """In an order that the loader draws from torch's global generator, which is another on every rank."""
    torch.manual_seed(rank)
    loading = torch.utils.data.DataLoader(small_data(), batch_size=8, shuffle=True)
    return of_mixture(loading, epochs=2)


def vae(rank, folder):
    return train(small_vae(likelihood="bernoulli"), small_dataset("dynamic"))


def counted(rank, folder):
    """Counts with a covariate, and a buffer that says yes or no."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.poisson(torch.full((50, D), 3.0), generator=generator)
    pair = pv.models.CountVAE((D,), 2, network="linear", likelihood="poisson", batches=2)
    return train(pair, (counts, torch.arange(50) % 2))


def whole(rank, folder):
    return train(small_vae(), small_data(), epochs=4, validation=0.2)


def halted(rank, folder):
    return train(small_vae(), small_data(), epochs=2, validation=0.2, out_dir=folder / "halted-run")


def continued(rank, folder):
    return train(small_vae(), small_data(), epochs=4, validation=0.2, out_dir=folder / "halted-run", resume=True)


def stopped(rank, folder):
    assert rank == 0 or not Path(folder / "told").exists()
    return train(small_vae(), small_data(), epochs=5, callbacks=lambda row: "stop" if row["epoch"] == 2 else None)


def free_bits(rank, folder):
    return train(small_vae(), small_data(), elbo=pv.inference.FreeBits("analytic-kl", 0.1))


def batch_norm(rank, folder):
    network = nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8)), nn.Linear(2, D)
    return train(pv.VAE((D,), 2, network=network, likelihood="gaussian"), small_data())


def other_data(rank, folder):
    return train(small_vae(), small_data(seed=rank))


def other_batches(rank, folder):
    return of_mixture(list(small_data().split(7 if rank == 0 else [7, 8, 35])))


def fails_at_once(rank, folder):
    return train(small_vae(), small_data() if rank == 0 else torch.full((50, D), float("nan")))


def fails_in_a_step(rank, folder):
    def fail():
        raise ValueError("a program of rank 1 broke")

    return train(Sudden(rank, LATE, fail), small_data(), epochs=5, compile=False, **ENUMERATED)


def killed(rank, folder, **options):
    pair = Sudden(rank, LATE, lambda: os.kill(os.getpid(), signal.SIGKILL))
    return train(
        pair, small_data(), epochs=5, out_dir=folder / "killed-run", compile=False, **ENUMERATED, **options
    )


def main(rank, number, folder, cases):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", f"file://{folder / 'store'}", rank=rank, world_size=number, timeout=datetime.timedelta(seconds=60)
    )
    given = pv.fit
    pv.fit = lambda *args, **options: given(*args, distributed="auto", **options)
    for case in cases:
        try:
            result = globals()[case](rank, folder)
        except (PplVaeError, ValueError) as error:
            (folder / f"{case}-{rank}.txt").write_text(f"{type(error).__name__}: {error}")
        else:
            save_file(dict(result.model.state_dict()), folder / f"{case}-{rank}.safetensors")
            result.history.to_json(folder / f"{case}-{rank}.json", double_precision=15)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
