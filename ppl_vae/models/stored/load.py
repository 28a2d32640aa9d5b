"""The function ``pv.load``, which builds a stored model again from its configuration."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ppl_vae.errors import CheckpointError, ModelError, PplVaeError, first_line
from ppl_vae.files import as_path
from ppl_vae.models import (
    GPVAE,
    VAE,
    VQVAE,
    AdaGroupVAE,
    BayesianDecoderVAE,
    CategoricalVAE,
    CompletionBaseline,
    CompletionVAE,
    ConditionalVAE,
    CountVAE,
    CovariateVAE,
    DeepMarkovModel,
    EncoderDecoderVAE,
    GaussianMixtureVAE,
    GroupsVAE,
    HierarchicalVAE,
    InvariantVAE,
    JointVAE,
    LadderVAE,
    LinearGaussianVAE,
    MultimodalVAE,
    ResidualVQVAE,
    SemiSupervisedVAE,
    SharedContentVAE,
    TopicVAE,
    VeryDeepVAE,
)
from ppl_vae.models.likelihoods.likelihoods import stored as stored_likelihood
from ppl_vae.models.program_pair import ProgramPair
from ppl_vae.models.stored.persistence import CONFIG, WEIGHTS, read_model, restore
from ppl_vae.models.stored.shapes_only import TooManyTensorsError, require_fit

# What builds the kind of model that a configuration names.
KINDS: Mapping[str, Callable[..., ProgramPair]] = {
    "linear-gaussian": LinearGaussianVAE.from_config,
    **{
        kind.kind: kind
        for kind in (
            VAE,
            HierarchicalVAE,
            LadderVAE,
            CategoricalVAE,
            JointVAE,
            ConditionalVAE,
            CovariateVAE,
            EncoderDecoderVAE,
            CountVAE,
            CompletionVAE,
            CompletionBaseline,
            GaussianMixtureVAE,
            VQVAE,
            SemiSupervisedVAE,
            DeepMarkovModel,
            GPVAE,
            BayesianDecoderVAE,
            MultimodalVAE,
            VeryDeepVAE,
            ResidualVQVAE,
            SharedContentVAE,
            AdaGroupVAE,
            GroupsVAE,
            TopicVAE,
            InvariantVAE,
        )
    },
}

# What a user may bring as a module; in a configuration it is null.
OWN_PARTS = ("network", "likelihood", "prior", "posterior", "guide", "baseline", "classifier")


def load(path: str | Path, **parts: object) -> Any:
    """Load what ``save`` wrote, or the model of a run folder, on the CPU and in evaluation mode.

    Args:
        path: the folder with config.json and weights.safetensors.
        **parts: the parts that were the user's own modules and cannot be built from a configuration:
            ``network=(encoder, decoder)``, ``prior=``, ``posterior=``, ``likelihood=``.

    Raises:
        CheckpointError: a file is missing or damaged, the two are not of one save, or a weight is not finite.
        ModelError: the weights do not fit, or a part of the user's own is needed and not given.
    """
    folder = as_path("path", path)
    stored = read_model(folder)
    config = stored.config
    if "likelihood" in config:
        config = config | {"likelihood": stored_likelihood(config["likelihood"])}
    require_fit(functools.partial(_build, folder), config, parts, stored.state, folder / WEIGHTS)
    stored.require_one_save()
    model = _build(folder, config | parts)
    restore(model, stored.state, folder / WEIGHTS)
    model.model.coordinate_names = stored.coordinate_names
    # As fit leaves it: an encoder with noise of its own must not add it to what it is asked.
    return model.eval()


def _build(folder: Path, config: Mapping[str, object]) -> ProgramPair:
    kind, options = config["model"], {key: value for key, value in config.items() if key != "model"}
    if not isinstance(kind, str) or kind not in KINDS:
        raise CheckpointError(f"{folder / CONFIG}: unknown kind of model {kind!r}")
    missing = [name for name in OWN_PARTS if name in options and options[name] is None]
    if missing:
        raise ModelError(
            f"{folder / CONFIG}: {missing[0]!r} was a module of your own; "
            f"give it again: pv.load({str(folder)!r}, {missing[0]}=...)"
        )
    try:
        return KINDS[kind](**options)
    except (MemoryError, TooManyTensorsError):
        raise
    except PplVaeError as error:
        raise type(error)(f"{folder / CONFIG}: {error}") from error
    except Exception as error:
        # Whatever a constructor says to options that no model of ours was ever saved with.
        raise CheckpointError(
            f"{folder / CONFIG}: not the configuration of a model ({first_line(error)})"
        ) from error
