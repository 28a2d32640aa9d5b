"""The arguments and options that several commands share, and those of ``train``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ppl_vae.cli.configuration import load_options
from ppl_vae.cli.source import Policy, SplitName
from ppl_vae.cli.values import count_or_none, integer_or_none, number_or_none, text_or_none


class CompileChoice(StrEnum):
    """The choices of ``--compile``: how training steps are taken."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"

    @property
    def setting(self) -> bool | str:
        """Return the value that ``fit`` takes."""
        return "auto" if self is CompileChoice.AUTO else self is CompileChoice.YES


def at_home(path: Path | None) -> Path | None:
    """Expand "~" to the home folder, which shells leave alone in --out=~/runs; None is the option left out."""
    return None if path is None or str(path) == "None" else path.expanduser()


WHOLE = {"parser": integer_or_none, "metavar": "INTEGER|None"}
NUMBER = {"parser": number_or_none, "metavar": "NUMBER|None"}


# The names of list_estimators(), which a test compares; to ask it would load torch for a line of help.
ESTIMATORS = (
    "analytic-kl", "monte-carlo-kl", "entropy", "sticking-the-landing", "score-function", "rloo", "vimco", "iwae",
    "dreg", "miwae", "ciwae", "piwae", "renyi", "tvo", "wake-sleep", "cubo", "tail-adaptive", "gdreg",
)  # fmt: skip

DATA, RUN = "Data", "Run"
MODEL, TRAINING = "Model (default: the recipe's)", "Training (default: the recipe's, else as shown)"

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder of a run that ppl-vae train made.", callback=at_home)
]
Root = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|None",
        callback=text_or_none,
        help="Folder with the files of a named data set. Else PPL_VAE_DATA, the cache, or a download.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
Split = Annotated[SplitName, typer.Option(help="The split of the data.", rich_help_panel=DATA)]
OtherData = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME_OR_FILE|None",
        callback=text_or_none,
        help="Other data of the same shape.",
        show_default="the run's own",
        rich_help_panel=DATA,
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the draws.")]

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="The recipe to train; ppl-vae recipes lists them.")]
Data = Annotated[
    str,
    typer.Option(
        metavar="NAME_OR_FILE",
        help="A name that ppl-vae datasets lists, a file (.csv, .tsv, .parquet, .h5ad, .npz, .npy, IDX), or a "
        "folder of images.",
        rich_help_panel=DATA,
    ),
]
Binarize = Annotated[
    Policy,
    typer.Option(
        help="How grey pixels become 0 or 1: at one half (threshold), drawn once (stochastic) or anew in every "
        "batch (dynamic). auto: dynamic for grey data under a Bernoulli likelihood, else none.",
        rich_help_panel=DATA,
    ),
]
DataOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="An option of the data set, such as n=5000 (faces, sprites), limit=20000 (celeba), value_range=None "
        "(.npy, .npz), or the columns labels=NAME, drop=NAME and covariates=NAME of a table and levels=auto for "
        'its words (in your order: levels={"stage": ["low", "high"]}); values as of --set. '
        "Repeatable.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
LatentDim = Annotated[
    int | None, typer.Option(**WHOLE, help="Dimensions of z.", show_default=False, rich_help_panel=MODEL)
]
Likelihood = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|JSON|None",
        callback=text_or_none,
        help="A name such as bernoulli, bernoulli-relaxed (grey data; its value is no log likelihood) or gaussian: "
        "an unknown one is answered by the list of all; columns takes every column of a table by its kind; "
        'with options as JSON: \'{"name": "gaussian", "sigma": 0.1}\', or for data with holes '
        '\'{"name": "missing-pixels", "of": "gaussian"}\'.',
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Network = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|JSON|None",
        callback=text_or_none,
        help="mlp, linear, conv, conv-tiny or denoising; options as JSON.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Posterior = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|JSON|None",
        callback=text_or_none,
        help="A name such as diagonal or flow: an unknown one is answered by the list of all; options as JSON.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other option of the recipe, such as beta=4; the value is JSON, None, True, False or text. "
        "Repeatable.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Elbo = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|None",
        callback=text_or_none,
        help="Estimator of the ELBO to train on, such as analytic-kl or monte-carlo-kl.",
        show_default="analytic-kl",
        rich_help_panel=TRAINING,
    ),
]
NumParticles = Annotated[
    int | None,
    typer.Option(**WHOLE, help="Draws of z per datum and step.", show_default="1", rich_help_panel=TRAINING),
]
Epochs = Annotated[
    int | None, typer.Option(**WHOLE, help="Passes over the data.", show_default="50", rich_help_panel=TRAINING)
]
BatchSize = Annotated[
    int | None, typer.Option(**WHOLE, help="Data per step.", show_default="128", rich_help_panel=TRAINING)
]
LearningRate = Annotated[
    float | None,
    typer.Option("--lr", **NUMBER, help="Learning rate.", show_default="0.001", rich_help_panel=TRAINING),
]
Validation = Annotated[
    str | None,
    typer.Option(
        metavar="FRACTION|test|None",
        callback=text_or_none,
        help="Choose the best epoch on this fraction of the training data, or on the test split (said so in the "
        "manifest). Without it the last epoch is kept.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        **WHOLE,
        help="Stop after this many epochs without a better validation ELBO (on 10% unless --validation says); "
        "0 never does.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
MaxGradNorm = Annotated[
    float | None,
    typer.Option(**NUMBER, help="Clip the gradient's norm to this.", show_default=False, rich_help_panel=TRAINING),
]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="CONFIG|None",
        help="Options as a file, YAML or JSON by their names, or the manifest.json of a run; what is typed has the "
        "last word.",
        rich_help_panel=RUN,
        is_eager=True,
        callback=load_options,
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR|None",
        help="Folder of the run, new or empty.",
        show_default="runs/RECIPE-DATA",
        rich_help_panel=RUN,
        callback=at_home,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Continue the run in the folder; start it if there is none.", rich_help_panel=RUN
    ),
]
RunSeed = Annotated[
    int, typer.Option("--seed", help="Seed of the weights, the batches and the draws.", rich_help_panel=RUN)
]
Device = Annotated[
    str, typer.Option(help="auto takes CUDA where there is one; else cpu, cuda, cuda:1.", rich_help_panel=RUN)
]
Compile = Annotated[
    CompileChoice,
    typer.Option(
        "--compile",
        help="Compile the training steps: yes, no, or auto (where it pays by a stated rule).",
        rich_help_panel=RUN,
    ),
]
NumThreads = Annotated[
    int | None,
    typer.Option(
        parser=count_or_none,
        metavar="INTEGER|None",
        help="Threads of the CPU.",
        show_default="by the size of a step",
        rich_help_panel=RUN,
    ),
]
NoFigures = Annotated[bool, typer.Option("--no-figures", help="Draw no figures at the end.", rich_help_panel=RUN)]
Live = Annotated[
    bool,
    typer.Option(
        "--live", help="Draw ELBO, terms and throughput of every epoch as they come.", rich_help_panel=RUN
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.", rich_help_panel=RUN)]
