"""Push a model to the Hugging Face Hub, and load one from there.

A repository holds config.json and weights.safetensors as ``save`` writes them, manifest.json, and the card as
README.md. Loading fetches the first two alone and reads them as ``pv.load`` does: nothing is unpickled, and no code
of a repository is run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ppl_vae.errors import CheckpointError, ModelError, first_line
from ppl_vae.extras import imported
from ppl_vae.files import JsonObject, read_json, write_json
from ppl_vae.hub.card import model_card
from ppl_vae.inference import FitResult
from ppl_vae.inference.pair.protocols import Storable
from ppl_vae.inference.training.run_files import CONFIG, HISTORY, MANIFEST, WEIGHTS
from ppl_vae.models import load

if TYPE_CHECKING:
    from ppl_vae.diagnostics.diagnosis import Diagnosis
    from ppl_vae.models.program_pair import ProgramPair

CARD = "README.md"
# What loading needs, and nothing else is fetched.
FETCHED = (CONFIG, WEIGHTS)
SCORES = ("train_elbo", "validation_elbo", "test_elbo")


@dataclass(frozen=True)
class _Run:
    """A model to push, with what is known of its run."""

    model: object
    manifest: JsonObject | None = None
    scores: dict[str, float] | None = None


def push_to_hub(
    model: object,
    repo_id: str,
    *,
    diagnosis: Diagnosis | None = None,
    license: str | None = None,
    private: bool | None = None,
    message: str = "Push a model of ppl_vae",
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Push a model with its card, as one commit.

    Args:
        model: a model of ours, the FitResult of its run, or the folder of the run.
        repo_id: "user/name"; it is made where there is none.
        diagnosis: of ``pv.diagnose``, whose verdicts the card tells.
        license: an identifier of the Hub, such as "mit".
        private: whether a repository that is made is private; None leaves it to the account's default.
        message: of the commit.
        token: None takes the one of ``hf auth login`` or of HF_TOKEN.
        endpoint: of the Hub; None takes HF_ENDPOINT, else https://huggingface.co.

    Returns:
        The commit's address.

    Raises:
        ModelError: huggingface_hub is not installed, or the model has no ``save``.
        CheckpointError: the folder holds no model, or the Hub refuses.
    """
    hub, run = _library(), _run(model)
    if not isinstance(run.model, Storable):
        raise ModelError(f"push_to_hub: {type(run.model).__name__} cannot be saved; push a model of ours")
    with tempfile.TemporaryDirectory() as place, _told(hub, repo_id):
        folder = Path(place)
        run.model.save(folder)
        config = read_json(folder / CONFIG)
        card = model_card(config, repo_id, run.manifest, run.scores, diagnosis, license)
        (folder / CARD).write_text(card, encoding="utf-8")
        if run.manifest is not None:
            write_json(folder / MANIFEST, _public(run.manifest))
        api = hub.HfApi(endpoint=endpoint, token=token, library_name="ppl_vae")
        api.create_repo(repo_id, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    return str(done.commit_url)


def from_hub(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    cache_dir: str | Path | None = None,
    **parts: object,
) -> ProgramPair:
    """Load a model that was pushed, on the CPU and in evaluation mode.

    Args:
        repo_id: "user/name".
        revision: a branch, a tag or a commit; None takes the newest.
        token: as ``push_to_hub``.
        endpoint: as ``push_to_hub``.
        cache_dir: where fetched files are kept; None takes the Hub's own cache.
        **parts: modules that were the author's own, as ``pv.load`` takes them.

    Raises:
        ModelError: huggingface_hub is not installed, or a part is needed and not given.
        CheckpointError: there is no such repository, no model in it, a damaged file, or no answer of the Hub.
    """
    hub = _library()
    with _told(hub, repo_id):
        folder = hub.snapshot_download(
            repo_id, revision=revision, token=token, endpoint=endpoint, cache_dir=cache_dir,
            allow_patterns=list(FETCHED), library_name="ppl_vae",
        )  # fmt: skip
    missing = [name for name in FETCHED if not (Path(folder) / name).exists()]
    if missing:
        raise CheckpointError(f"{repo_id}: holds no model of ppl_vae ({missing[0]} is missing)")
    model: ProgramPair = load(folder, **parts)
    return model


def _library() -> ModuleType:
    return imported("huggingface_hub", "the Hub", "'ppl_vae[hub]'")


@contextmanager
def _told(hub: ModuleType, repo_id: str) -> Iterator[None]:
    """Tell what the Hub says in one line."""
    try:
        yield
    except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError, OSError, ValueError) as error:
        if isinstance(error, CheckpointError | ModelError):
            raise
        raise CheckpointError(f"{repo_id}: the Hub could not be used ({first_line(error)})") from error


def _run(model: object) -> _Run:
    if isinstance(model, FitResult):
        row = model.history.loc[model.history["epoch"] == model.best_epoch].iloc[0]
        return _Run(model.model, model.manifest, {name: float(row[name]) for name in SCORES if name in row})
    if not isinstance(model, str | Path):
        return _Run(model)
    folder = Path(model).expanduser()
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else None
    return _Run(load(folder), manifest, None if manifest is None else _stored_scores(folder, manifest))


def _stored_scores(folder: Path, manifest: JsonObject) -> dict[str, float] | None:
    import pandas as pd

    if not (folder / HISTORY).exists():
        return None
    history = pd.read_csv(folder / HISTORY)
    row = history.loc[history["epoch"] == manifest["best_epoch"]].iloc[0]
    return {name: float(row[name]) for name in SCORES if name in row}


def _public(manifest: JsonObject) -> JsonObject:
    """The manifest without what tells of its author's own folders."""
    data = {name: value for name, value in manifest.get("data", {}).items() if name != "source"}
    return {**{name: value for name, value in manifest.items() if name != "command"}, "data": data}
