"""Which code made each record of benchmarks/results, and whether that code has changed since.

    python benchmarks/provenance.py                 say which records are older than the code that they measure
    python benchmarks/provenance.py --mark          write that into benchmarks/provenance.json
    python benchmarks/provenance.py --made NAME     the record NAME was just made by the code as it stands

``MADE_BY`` names for each record the command that makes it and the files that decide its numbers; a folder stands
for all Python files in it. Their fingerprints are kept in benchmarks/provenance.json. A fingerprint is of the code
alone: comments, docstrings and blank lines do not count. A record whose files changed is stale until it is made
anew; the tests demand that provenance.json says so, and that the README names those which it quotes.
"""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PROVENANCE = ROOT / "benchmarks" / "provenance.json"
README = ROOT / "README.md"
# Between these stands what --mark writes.
NOTICE, END = "<!-- records older than their code -->", "<!-- end -->"
ESTIMATORS = "ppl_vae/inference/estimators"
EVIDENCE, COMPILATION = "ppl_vae/inference/evidence", "ppl_vae/inference/compilation"
TRAINING = "ppl_vae/inference/training"
MNIST_PROGRAMS = ("ppl_vae/models/vae.py", "ppl_vae/models/programs.py", "ppl_vae/networks.py")


@dataclass(frozen=True)
class Made:
    """How a record is made.

    Attributes:
        command: from the root of a checkout.
        files: that decide its numbers, beside the script itself.
    """

    command: str
    files: tuple[str, ...] = ()

    @property
    def all_files(self) -> tuple[str, ...]:
        """The script and its files."""
        script = next(word for word in self.command.split() if word.endswith(".py") or word == "test-all")
        return self.files if script == "test-all" else (script, *self.files)


MADE_BY: Mapping[str, Made] = {
    "chains.json": Made("python benchmarks/chains.py", ("ppl_vae/inference/chains", "ppl_vae/diagnostics/infer")),
    "chains_peers.json": Made(
        "python benchmarks/chains_peers.py", ("ppl_vae/inference/chains", "benchmarks/peers/jax_chains.py")
    ),
    "compression_speed.json": Made(
        "python benchmarks/compression_speed.py", ("ppl_vae/compression", *MNIST_PROGRAMS)
    ),
    "diagnose_builds.json": Made(
        "python benchmarks/diagnose_builds.py", ("ppl_vae/diagnostics", "ppl_vae/inference/chains")
    ),
    "digits_collapse.json": Made(
        "python benchmarks/digits_collapse.py", ("ppl_vae/diagnostics/collapse", ESTIMATORS)
    ),
    "digits_diagnosis.json": Made("python benchmarks/digits_diagnosis.py", ("ppl_vae/diagnostics",)),
    "digits_estimators.json": Made(
        "python benchmarks/digits_estimators.py", (ESTIMATORS, "ppl_vae/inference/laboratory")
    ),
    "digits_recipes.json": Made("python benchmarks/digits_recipes.py", ("ppl_vae/recipes", "ppl_vae/models")),
    "chain_steps.json": Made(
        "python benchmarks/chain_steps.py",
        (
            "ppl_vae/models/posteriors/chain_distribution.py",
            "ppl_vae/models/posteriors/chain_posterior.py",
            "ppl_vae/models/posteriors/dais_posterior.py",
            "ppl_vae/models/posteriors/hamiltonian_posterior.py",
            "ppl_vae/inference/laboratory",
        ),
    ),
    "deep_hierarchy.json": Made(
        "python benchmarks/deep_hierarchy.py",
        (
            "ppl_vae/models/hierarchies",
            "ppl_vae/inference/training/skipping.py",
            "ppl_vae/recipes/programs.py",
            *MNIST_PROGRAMS,
        ),
    ),
    "discrete_estimators.json": Made(
        "python benchmarks/discrete_estimators.py",
        (
            *(f"{ESTIMATORS}/{name}.py" for name in ("antithetic_bits", "discrete", "score_function")),
            "ppl_vae/inference/objectives/relax.py",
        ),
    ),
    "disentanglement_speed.json": Made(
        "python benchmarks/disentanglement_speed.py", ("ppl_vae/diagnostics/latent_space/disentanglement",)
    ),
    "explorable_page.json": Made("python benchmarks/explorable_page.py", ("ppl_vae/explore",)),
    "first_page.json": Made("python benchmarks/first_page.py", ("docs/first_steps.py", *MNIST_PROGRAMS, EVIDENCE)),
    "foreign_sets.json": Made(
        "python benchmarks/foreign_sets.py",
        ("benchmarks/drawn_images.py", "ppl_vae/diagnostics/predictive/foreign.py", *MNIST_PROGRAMS, EVIDENCE),
    ),
    "khat.json": Made("python benchmarks/khat.py", (f"{EVIDENCE}/pareto.py", "ppl_vae/diagnostics/importance")),
    "latent_holes.json": Made("python benchmarks/latent_holes.py", ("ppl_vae/diagnostics/latent_space",)),
    "many_fits.json": Made("python benchmarks/many_fits.py", (COMPILATION, TRAINING)),
    "missing_cells.json": Made(
        "python benchmarks/missing_cells.py",
        ("ppl_vae/models/likelihoods/missingness.py", "ppl_vae/diagnostics/infer/imputation.py"),
    ),
    "mnist_conditional.json": Made(
        "python benchmarks/mnist_conditional.py", ("ppl_vae/models/labelled/completion_vae.py",)
    ),
    "mnist_published.json": Made(
        "python benchmarks/mnist_published.py", (*MNIST_PROGRAMS, f"{ESTIMATORS}/elbo.py")
    ),
    "mnist_recipes.json": Made(
        "python benchmarks/mnist_recipes.py",
        (*MNIST_PROGRAMS, f"{ESTIMATORS}/elbo.py", f"{ESTIMATORS}/importance_weighted.py"),
    ),
    "mnist_semi_supervised.json": Made(
        "python benchmarks/mnist_semi_supervised.py", ("ppl_vae/models/labelled/semi_supervised_vae.py",)
    ),
    "multimodal_digits.json": Made(
        "python benchmarks/multimodal_digits.py",
        (
            "ppl_vae/models/multimodal",
            "ppl_vae/inference/objectives/hidden_coordinates.py",
            "ppl_vae/recipes/multimodal.py",
        ),
    ),
    "count_peers.json": Made(
        "python benchmarks/count_peers.py --peer PYTHON",
        ("ppl_vae/models/counts", "ppl_vae/models/likelihoods", EVIDENCE),
    ),
    "first_second.json": Made(
        "python benchmarks/first_second.py", (COMPILATION, TRAINING, "ppl_vae/cli", "ppl_vae/recording.py")
    ),
    "fit_many.json": Made(
        "python benchmarks/fit_many.py", ("ppl_vae/inference/fitting/fit_many.py", COMPILATION, *MNIST_PROGRAMS)
    ),
    "ranks.json": Made("python benchmarks/ranks.py", (TRAINING, *MNIST_PROGRAMS)),
    "sparse_counts.json": Made("python benchmarks/sparse_counts.py", ("ppl_vae/containers", TRAINING)),
    "streaming.json": Made("python benchmarks/streaming.py", ("ppl_vae/containers", TRAINING)),
    "published.json": Made("python benchmarks/published.py --table NAME", ("benchmarks/tables", ESTIMATORS)),
    "speed.json": Made("python benchmarks/speed.py --threads 2", ("benchmarks/peers", COMPILATION, TRAINING)),
    "sprites_disentanglement.json": Made(
        "python benchmarks/sprites_disentanglement.py",
        (
            "ppl_vae/recipes",
            "ppl_vae/models/groups",
            "ppl_vae/inference/objectives",
            "ppl_vae/diagnostics/latent_space/disentanglement",
        ),
    ),
    "test_all.txt": Made(
        "make test-all", ("tests/conftest.py", "tests/test_resume.py", "ppl_vae/inference/fitting/fit.py")
    ),
    "two_builds.json": Made("python benchmarks/two_builds.py", (COMPILATION, TRAINING)),
    "verdict_rules.json": Made("python benchmarks/verdict_rules.py", ("ppl_vae/diagnostics/importance", EVIDENCE)),
    "whole_data_set.json": Made(
        "python benchmarks/whole_data_set.py",
        (EVIDENCE, "ppl_vae/diagnostics/importance", "ppl_vae/inference/chains", *MNIST_PROGRAMS),
    ),
}
ENVIRONMENTS = Made("python packaging/test_on.py")


@functools.cache
def code_alone(source: str) -> str:
    """The lines of a Python file without comments of whole lines, docstrings and blank lines."""
    lines: dict[int, str] = dict(enumerate(source.splitlines(), 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                for number in range(first.lineno, (first.end_lineno or first.lineno) + 1):
                    lines.pop(number, None)
    kept = (line.rstrip() for line in lines.values())
    return "\n".join(line for line in kept if line and not line.lstrip().startswith("#"))


def fingerprint(sources: Iterable[tuple[str, str]]) -> str:
    """One of several files, by name and content."""
    found = hashlib.sha256()
    for name, source in sorted(sources):
        found.update(f"{name}\0{code_alone(source)}\0".encode())
    return found.hexdigest()[:16]


def sources_now(name: str) -> list[tuple[str, str]]:
    """The Python files of a name as they stand; none where it is gone."""
    path = ROOT / name
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.exists() else []
    return [(str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")) for file in files]


def sources_at(commit: str, name: str) -> list[tuple[str, str]]:
    """The same as they stood at a commit."""
    listed = git("ls-tree", "-r", "--name-only", commit, "--", name).splitlines()
    return [(file, git("show", f"{commit}:{file}")) for file in listed if file.endswith(".py")]


def fingerprints(names: Iterable[str], commit: str | None = None) -> dict[str, str]:
    """The fingerprint of every name, now or at a commit."""
    return {name: fingerprint(sources_at(commit, name) if commit else sources_now(name)) for name in names}


def git(*arguments: str) -> str:
    """What git prints."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def made_by(record: str) -> Made:
    """How a record is made; those of environments all alike."""
    return ENVIRONMENTS if record.startswith("environments/") else MADE_BY[record]


def records() -> list[str]:
    """The records that there are."""
    files = [*RESULTS.glob("*.json"), *RESULTS.glob("*.txt"), *RESULTS.glob("environments/*.json")]
    return sorted(path.relative_to(RESULTS).as_posix() for path in files)


def changed(record: str, entry: Mapping[str, object]) -> list[str]:
    """The files of a record whose code is not what it was made with."""
    before = entry["code"]
    assert isinstance(before, dict)
    now = fingerprints(made_by(record).all_files)
    return [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]


def stored() -> dict[str, dict[str, object]]:
    """What provenance.json says."""
    return json.loads(PROVENANCE.read_text()) if PROVENANCE.exists() else {}


def entry(record: str, commit: str | None) -> dict[str, object]:
    """The entry of a record made now, or of one that was committed by a commit."""
    made = made_by(record)
    at = commit or git("rev-parse", "--short", "HEAD").strip()
    return {"command": made.command, "commit": at, "code": fingerprints(made.all_files, commit), "stale": []}


def entries(just_made: Iterable[str]) -> dict[str, dict[str, object]]:
    """The entries of all records; one that has none yet belongs to the commit that it came with."""
    before, found = stored(), {}
    for record in records():
        if record in just_made or record not in before:
            path = f"benchmarks/results/{record}"
            commit = None if record in just_made else git("log", "-1", "--format=%h", "--", path).strip() or None
            found[record] = entry(record, commit)
        else:
            found[record] = dict(before[record])
        found[record]["stale"] = changed(record, found[record])
    return found


def notice(found: Mapping[str, Mapping[str, object]], readme: str) -> str:
    """The README's sentence on the records that it quotes and that are stale."""
    quoted = [record for record in found if f"(benchmarks/results/{record})" in readme]
    stale = [f"`{record}`" for record in quoted if found[record]["stale"]]
    words = f"Older than the code that they measure: {', '.join(stale)}." if stale else "All are of this code."
    return f"{NOTICE}\n{words}\n{END}"


def with_notice(readme: str, found: Mapping[str, Mapping[str, object]]) -> str:
    """The README with that sentence in its place."""
    before, _, rest = readme.partition(NOTICE)
    return f"{before}{notice(found, readme)}{rest.partition(END)[2]}"


def main() -> None:
    """Say, or write, what is stale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mark", action="store_true", help="write it into provenance.json")
    parser.add_argument("--made", action="append", default=[], help="a record that was just made; implies --mark")
    options = parser.parse_args()
    found = entries(options.made)
    for record, each in found.items():
        print(f"{record}: {'stale: ' + ', '.join(map(str, each['stale'])) if each['stale'] else 'of this code'}")
    if options.mark or options.made:
        PROVENANCE.write_text(json.dumps(found, indent=1) + "\n")
        README.write_text(with_notice(README.read_text(), found))


if __name__ == "__main__":
    main()
