"""The table of commands, which says of each what the list of them shows."""

from __future__ import annotations

from typing import NamedTuple


# No dataclass: to load those costs half of what the list of the commands takes.
class Command(NamedTuple):
    """A row.

    Attributes:
        module: of this room; its function has the command's name.
        summary: the first line of that function's docstring.
        examples: of its use.
    """

    module: str
    summary: str
    examples: tuple[str, ...] = ()


COMMANDS: dict[str, Command] = {
    "train": Command(
        "train",
        "Train a recipe on data and leave a folder with model, history, metrics and figures.",
        (
            "ppl-vae train vae --data digits --latent-dim 2 --out runs/digits",
            "ppl-vae train beta-vae --data mnist --set beta=4 --out runs/beta",
            "ppl-vae train conv-vae --data images.npz --validation 0.1 --patience 5 --out runs/mine",
        ),
    ),
    "evaluate": Command(
        "evaluate",
        "Evaluate the plain ELBO of a trained run and its two terms, with standard errors.",
        ("ppl-vae evaluate runs/digits", "ppl-vae evaluate runs/digits --split train --num-particles 100"),
    ),
    "compare": Command(
        "compare",
        "Measure estimators of the ELBO side by side: value, bias, gradient variance, SNR, time.",
        (
            "ppl-vae compare runs/digits",
            "ppl-vae compare vae --data digits --estimators analytic-kl,sticking-the-landing,iwae,dreg",
        ),
    ),
    "compare-recipes": Command(
        "compare_recipes",
        "Train several recipes with several seeds and judge them by the same plain ELBO on the test split.",
        (
            "ppl-vae compare-recipes vae iwae iaf-vae --data digits --epochs 50",
            "ppl-vae compare-recipes vae beta-vae:beta=0.25 beta-vae:beta=16 --data mnist --seeds 5",
        ),
    ),
    "sweep": Command(
        "sweep",
        "Train a recipe over a grid or an Optuna space and judge the trials by data that none is trained on.",
        ("ppl-vae sweep beta.yaml --out runs/beta", "ppl-vae sweep beta.yaml --workers 4 --resume"),
    ),
    "diagnose": Command(
        "diagnose",
        "Diagnose the posterior of a trained run and write ONE self-contained report.html.",
        ("ppl-vae diagnose runs/digits", "ppl-vae diagnose runs/mnist --data mnist --out report.html"),
    ),
    "infer": Command(
        "infer",
        "Draw from p(z|x) of every datum, each by the cheapest way whose check it passes.",
        (
            "ppl-vae infer runs/digits --out posterior.nc",
            "ppl-vae infer runs/digits --data digits --out posterior.nc --keep blocks",
        ),
    ),
    "sample": Command(
        "sample",
        "Draw samples from a trained run: codes from the prior, decoded.",
        ("ppl-vae sample runs/digits --n 100", "ppl-vae sample runs/digits --with-noise --out draws.npz"),
    ),
    "plot": Command(
        "plot",
        "Draw the figures of a trained run again, into DIR/figures.",
        (
            "ppl-vae plot runs/digits",
            "ppl-vae plot runs/digits manifold --extent -2 2",
            "ppl-vae plot runs/faces arithmetic --attribute smiling",
        ),
    ),
    "compress": Command(
        "compress",
        "Compress binary images losslessly with a trained run, by bits-back coding.",
        ("ppl-vae compress runs/digits --out digits.pvbb", "ppl-vae compress runs/mnist --data scans.npz"),
    ),
    "decompress": Command(
        "compress",
        "Decompress what ``ppl-vae compress`` wrote with the same run, into a .npz with the images as ``x``.",
        ("ppl-vae decompress runs/digits digits.pvbb --out digits.npz",),
    ),
    "datasets": Command("listings", "List the data sets by name, what they are and where they come from."),
    "recipes": Command("listings", "List the recipes by name, what they are and the paper of each."),
    "cache": Command(
        "cache", "Show the compiled training steps that are kept on disk: where, how many, how large."
    ),
}
