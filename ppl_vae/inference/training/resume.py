"""The requirements on a run that continues another one, and the warnings where they are not met."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from ppl_vae.errors import CheckpointError
from ppl_vae.files import JsonObject
from ppl_vae.inference.training.compute import Threads
from ppl_vae.inference.training.manifest import require_same_run
from ppl_vae.inference.training.preparation import Run
from ppl_vae.inference.training.selection import Selection
from ppl_vae.inference.training.settings import Settings

OTHER_BYTES = "so the numbers may differ from those of a run that was never stopped"


def require_continuable(stored: JsonObject, run: Run, where: object) -> None:
    """Refuse a checkpoint of another run; warn of whatever else keeps the bytes from being those of one run.

    Args:
        stored: the checkpoint.
        run: what is to go on.
        where: the folder, for messages.

    Raises:
        CheckpointError: a setting, the data, a program's code or a constant that it reads differs; it is named.
    """
    before, now = stored["manifest"], run.manifest
    require_same_run(before, now, where)
    changed = _changed_versions(before.get("versions", {}), now["versions"])
    difference = _changed_code(before.get("code") or {}, now["code"])
    if _is_over(stored["state"], run.settings):
        now["code"] = before.get("code") or now["code"]
    elif difference and not changed:
        raise CheckpointError(f"{where}: the checkpoint is of another run: {difference}")
    if changed:
        # Bytecode of another Python, or layers as another torch describes them, tell nothing.
        also = f", and {difference}" if difference else ""
        warnings.warn(f"{where}: continued under {changed}{also}, {OTHER_BYTES}", stacklevel=4)
    if before.get("device", now["device"]) != now["device"]:
        warnings.warn(
            f"{where}: continued on {now['device']}, begun on {before['device']}, {OTHER_BYTES}", stacklevel=4
        )
    ranks = before.get("ranks", 1), now.get("ranks", 1)
    if ranks[0] != ranks[1]:
        warnings.warn(f"{where}: continued on {ranks[1]} ranks, begun on {ranks[0]}, {OTHER_BYTES}", stacklevel=4)
    _warn_of_hidden_state(before, now, where)
    done, wanted = stored["state"]["epoch"], run.settings.epochs
    if wanted < done:
        warnings.warn(
            f"{where}: the run has {done} epochs already, more than epochs={wanted}; nothing is trained",
            stacklevel=4,
        )


def threads_to_use(stored: JsonObject | None, asked: Threads, where: object) -> Threads:
    """The number of threads of a run that goes on, unless another is asked for; None for the rule's."""
    if stored is None:
        return asked
    before: int = stored["manifest"]["num_threads"]
    if asked not in (None, "spare", before):
        warnings.warn(f"{where}: continued with {asked} threads, begun with {before}, {OTHER_BYTES}", stacklevel=4)
    return asked if isinstance(asked, int) else before


def mode_to_use(stored: JsonObject | None, asked: bool | str) -> bool | str:
    """The mode of the steps: as before, unless the user insists on another."""
    return asked if stored is None or asked != "auto" else str(stored["manifest"]["compile"])


def keep_mode(stored: JsonObject | None, manifest: JsonObject, where: object) -> None:
    """Keep the reason of the mode that was kept; warn where it could not be."""
    if stored is None:
        return
    before = stored["manifest"]
    if manifest["compile"] == before["compile"]:
        manifest["compile_reason"] = before.get("compile_reason", "")
    else:
        warnings.warn(
            f"{where}: continued with {manifest['compile']} steps, begun with {before['compile']} ones "
            f"({manifest['compile_reason']}), {OTHER_BYTES}",
            stacklevel=4,
        )


def _is_over(state: JsonObject, settings: Settings) -> bool:
    """Tell whether nothing is left to train, so that no code will run in training."""
    best = Selection(settings.patience, epoch=state["selection"]["epoch"])
    return state["epoch"] >= settings.epochs or best.exhausted(state["epoch"])


def _changed_versions(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    changed = [name for name in now if before.get(name, now[name]) != now[name]]
    return ", ".join(f"{name} {now[name]} (begun under {before[name]})" for name in changed)


def _changed_code(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """The first thing that both are made of and that differs, in words; its code first, if that is what changed."""
    differing = [name for name in now if before.get(name, now[name]) != now[name]]
    for name in sorted(differing, key=lambda name: not name.endswith("()")):
        if name.endswith("()"):
            return f"the code of {name.removesuffix('()')} was changed"
        if name.endswith(" layers"):
            return f"the layers of {name.removesuffix(' layers')} have other options"
        return f"{name} was {before[name]}, is now {now[name]}"
    return None


def _warn_of_hidden_state(before: JsonObject, now: JsonObject, where: object) -> None:
    own = "first_batch_sha256"
    if own in now["data"] and now["data"][own] is None and own in before["data"]:
        warnings.warn(
            f"{where}: the batches begin differently at every pass, by randomness that cannot be "
            f"restored, {OTHER_BYTES}",
            stacklevel=5,
        )
