"""The card of a model: what it is, what it was trained on, and what its posterior is worth, in Markdown.

Everything in it comes from the run's manifest and the diagnosis (Mitchell et al. 2019 say what a card is for); what
is not known is left out, and said to be.

Mitchell et al. (2019): https://arxiv.org/abs/1810.03993
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from ppl_vae.diagnostics.diagnosis import Diagnosis
from ppl_vae.diagnostics.verdict import Verdict
from ppl_vae.files import JsonObject

TAGS = ("variational-autoencoder", "pyro", "probabilistic-programming")
# What a reader asks of the data; checksums tell whether one has the same.
DATA_FIELDS = ("name", "binarization", "train_size", "validation", "test_size", "train_sha256", "test_sha256")
RUN_FIELDS = ("seed", "epochs_run", "best_epoch", "device", "precision", "compile", "ranks")


def model_card(
    config: Mapping[str, object],
    repo_id: str,
    manifest: JsonObject | None = None,
    scores: Mapping[str, float] | None = None,
    diagnosis: Diagnosis | None = None,
    license: str | None = None,
) -> str:
    """Write the card.

    Args:
        config: of the model.
        repo_id: where it will be.
        manifest: of its run; None where it is not known.
        scores: of the history at the chosen epoch, nats per datum, by the history's names.
        diagnosis: of ``pv.diagnose``; None where it was not diagnosed.
        license: an identifier of the Hub, such as "mit".
    """
    parts = [
        _front(license),
        f"# {repo_id.rpartition('/')[2]}",
        f"A variational autoencoder of kind `{config.get('model')}`: a pair of Pyro programs.",
        _use(repo_id, [name for name, value in config.items() if value is None and name == "network"]),
        _section("Model", {name: value for name, value in config.items() if name != "model"}),
        *([] if manifest is None else _of_run(manifest)),
        _scores(scores),
        _diagnosed(diagnosis),
    ]
    if manifest is None:
        parts.append("How it was trained is not known: it was pushed without the manifest of a run.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(license: str | None) -> str:
    lines = ["library_name: ppl_vae", "tags:", *(f"- {tag}" for tag in TAGS)]
    # JSON strings are YAML strings, whatever is in them.
    lines += [] if license is None else [f"license: {json.dumps(license)}"]
    return "\n".join(["---", *lines, "---"])


def _use(repo_id: str, missing: Sequence[str]) -> str:
    more = "".join(f", {name}=..." for name in missing)
    note = "\n\nIts network was a module of its author's own, which must be given." if missing else ""
    return f"```python\nimport ppl_vae as pv\n\nvae = pv.from_hub({repo_id!r}{more})\n```{note}"


def _of_run(manifest: JsonObject) -> list[str]:
    data, settings = manifest.get("data", {}), manifest.get("settings", {})
    return [
        _section("Data", {name: data[name] for name in DATA_FIELDS if data.get(name) is not None}),
        _section(
            "Training", {**{n: v for n, v in settings.items() if v is not None}, **_taken(manifest, RUN_FIELDS)}
        ),
        _section("Versions", manifest.get("versions", {})),
    ]


def _taken(manifest: JsonObject, names: Iterable[str]) -> dict[str, object]:
    return {name: manifest[name] for name in names if name in manifest}


def _scores(scores: Mapping[str, float] | None) -> str:
    if not scores:
        return ""
    rows = [(name.replace("_", " "), f"{value:.4g}") for name, value in scores.items()]
    return (
        "## Numbers of the run\n\nNats per datum; the ELBO is the plain one, whatever the objective was.\n\n"
        + _table(("quantity", "value"), rows)
    )


def _diagnosed(diagnosis: Diagnosis | None) -> str:
    title = "## What the posterior is worth\n\n"
    if diagnosis is None:
        return f"{title}It was not diagnosed."
    rows = [(verdict.diagnostic, verdict.level, _words(verdict)) for verdict in diagnosis.verdicts]
    return f"{title}Diagnosed on {len(diagnosis.x)} data.\n\n" + _table(("diagnostic", "verdict", "in words"), rows)


def _words(verdict: Verdict) -> str:
    return " ".join(filter(None, (verdict.words, verdict.advice)))


def _section(title: str, facts: Mapping[str, object]) -> str:
    if not facts:
        return ""
    rows = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in facts.items()]
    return f"## {title}\n\n" + _table(("", ""), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """One line of text that is no markup, whatever a name or a setting holds."""
    plain = " ".join(str(text).split()).replace("\\", "\\\\")
    for mark in "|<>[]`*_":
        plain = plain.replace(mark, f"\\{mark}")
    return plain
