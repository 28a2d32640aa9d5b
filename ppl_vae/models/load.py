"""``pv.load``: a stored model, built again from its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ppl_vae.errors import CheckpointError, ModelError
from ppl_vae.files import read_tensors
from ppl_vae.models.categorical_vae import CategoricalVAE
from ppl_vae.models.completion_baseline import CompletionBaseline
from ppl_vae.models.completion_vae import CompletionVAE
from ppl_vae.models.conditional_vae import ConditionalVAE
from ppl_vae.models.deep_markov_model import DeepMarkovModel
from ppl_vae.models.gaussian_mixture_vae import GaussianMixtureVAE
from ppl_vae.models.hierarchical_vae import HierarchicalVAE
from ppl_vae.models.joint_vae import JointVAE
from ppl_vae.models.ladder_vae import LadderVAE
from ppl_vae.models.likelihoods import stored
from ppl_vae.models.linear_gaussian import LinearGaussianVAE
from ppl_vae.models.persistence import CONFIG, WEIGHTS, read_config, restore
from ppl_vae.models.program_pair import ProgramPair
from ppl_vae.models.semi_supervised_vae import SemiSupervisedVAE
from ppl_vae.models.vae import VAE
from ppl_vae.models.vq_vae import VQVAE

# What builds the kind of model that a configuration names.
KINDS: Mapping[str, Callable[..., ProgramPair]] = {
    "vae": VAE,
    "linear-gaussian": LinearGaussianVAE.from_config,
    "hierarchical": HierarchicalVAE,
    "ladder": LadderVAE,
    "categorical": CategoricalVAE,
    "joint": JointVAE,
    "conditional": ConditionalVAE,
    "completion": CompletionVAE,
    "completion-baseline": CompletionBaseline,
    "gaussian-mixture": GaussianMixtureVAE,
    "vector-quantised": VQVAE,
    "semi-supervised": SemiSupervisedVAE,
    "deep-markov": DeepMarkovModel,
}

# What a user may bring as a module; in a configuration it is null.
OWN_PARTS = ("network", "likelihood", "prior", "posterior", "guide", "baseline", "classifier")


def load(path: str | Path, **parts: Any) -> Any:
    """Load what ``save`` wrote, or the model of a run folder, on the CPU and in evaluation mode.

    Args:
        path: the folder with config.json and weights.safetensors.
        **parts: the parts that were the user's own modules and cannot be built from a configuration:
            ``network=(encoder, decoder)``, ``prior=``, ``posterior=``, ``likelihood=``.

    Raises:
        CheckpointError: a file is missing or corrupt.
        ModelError: the weights do not fit, or a part of the user's own is needed and not given.
    """
    folder = Path(path)
    config = read_config(folder) | parts
    config |= {"likelihood": stored(config["likelihood"])} if "likelihood" in config else {}
    model = _build(folder, config)
    state = read_tensors(folder / WEIGHTS)
    # A model that was turned to another precision comes back in it.
    model.to(dtype=next((t.dtype for t in state.values() if t.is_floating_point()), None))
    restore(model, state, folder / WEIGHTS)
    # As fit leaves it: an encoder with noise of its own must not add it to what it is asked.
    return model.eval()


def _build(folder: Path, config: dict[str, Any]) -> ProgramPair:
    kind, options = config["model"], {key: value for key, value in config.items() if key != "model"}
    missing = [name for name in OWN_PARTS if name in options and options[name] is None]
    if missing:
        raise ModelError(
            f"{folder / CONFIG}: {missing[0]!r} was a module of your own; "
            f"give it again: pv.load({str(folder)!r}, {missing[0]}=...)"
        )
    try:
        if kind in KINDS:
            return KINDS[kind](**options)
    except ModelError as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from error
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"{folder / CONFIG}: not the configuration of a model ({error})") from error
    raise CheckpointError(f"{folder / CONFIG}: unknown kind of model {kind!r}")
