"""Measure how the package reads: rooms, floors, hidden protocols, repeats, prose; ``make gauges`` prints it.

rooms         modules and folders directly inside a package
floors        the longest chain of imports between the rooms of a package
hidden        calls of getattr and hasattr: attributes that no type declares
Any           annotations that tell an editor nothing
repeated      share of lines in blocks of six or more that stand in another file too
paper links   lines that link a paper (arXiv or DOI)
fragments     docstrings that open with Of, By, What, Which or Whether
strict        errors of mypy --strict that are no untyped call into Pyro
"""

from __future__ import annotations

import argparse
import ast
import functools
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "ppl_vae"
FILES = sorted(PACKAGE.rglob("*.py"))
BLOCK = 6
LINK = re.compile(r"arxiv\.org/|doi\.org/", re.IGNORECASE)
FRAGMENT = re.compile(r"(Of|By|What|Which|Whether)\b")
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def nodes() -> Iterator[ast.AST]:
    """Every node of every file."""
    return (node for path in FILES for node in ast.walk(tree(path)))


def rooms(package: str) -> set[str]:
    """The modules and folders directly inside a package."""
    inside = (PACKAGE / package).iterdir()
    return {p.stem for p in inside if (p.suffix == ".py" and p.stem != "__init__") or (p / "__init__.py").exists()}


def floors(package: str) -> int:
    """The longest chain of imports between the rooms of a package; a circle counts as one floor."""
    prefix = f"ppl_vae.{package}."
    arrows: dict[str, set[str]] = defaultdict(set)
    for path in FILES:
        inside = path.relative_to(PACKAGE).parts
        if inside[0] != package or len(inside) < 2 or inside[1] == "__init__.py":
            continue
        room = inside[1].removesuffix(".py")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(prefix):
                arrows[room].add(str(node.module).removeprefix(prefix).split(".")[0])

    def height(room: str, above: frozenset[str]) -> int:
        below = arrows[room] - above - {room}
        return 1 + max((height(other, above | {room}) for other in below), default=0)

    return max(height(room, frozenset()) for room in rooms(package))


def calls(*names: str) -> int:
    """How often functions of these names are called."""
    return sum(isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in names for n in nodes())


def anys() -> int:
    """How often ``Any`` stands in the code, its imports aside."""
    return sum(isinstance(n, ast.Name) and n.id == "Any" for n in nodes())


def repeated() -> float:
    """The share of lines that stand in a block of six or more which is found in another file too."""
    places: dict[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    total = 0
    for path in FILES:
        written = enumerate(path.read_text(encoding="utf-8").splitlines())
        lines = [(number, line.strip()) for number, line in written if line.strip()]
        total += len(lines)
        for start in range(len(lines) - BLOCK + 1):
            block = tuple(line for _, line in lines[start : start + BLOCK])
            places[block].append((path, start))
    twice = {
        (path, start + offset)
        for block in places.values()
        if len({path for path, _ in block}) > 1
        for path, start in block
        for offset in range(BLOCK)
    }
    return 100 * len(twice) / total


def paper_links() -> int:
    """Lines with the link of a paper."""
    return sum(bool(LINK.search(line)) for p in FILES for line in p.read_text(encoding="utf-8").splitlines())


def fragments() -> list[str]:
    """Docstrings that open with a word which starts no sentence there: file, line and opening."""
    return [
        f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 1)}: {text.splitlines()[0]}"
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)) and FRAGMENT.match(text)
    ]


def strict() -> int:
    """Errors of mypy --strict, without those that an untyped library causes."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(PACKAGE)]
    printed = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent, check=False).stdout
    untyped = ("no-untyped-call", "untyped-decorator", "misc", "no-any-return")
    errors = [line for line in printed.splitlines() if ": error:" in line]
    return sum(not line.rstrip("]").endswith(untyped) for line in errors)


GAUGES: dict[str, tuple[Callable[[], float], str]] = {
    "rooms of inference": (lambda: len(rooms("inference")), "at most 9"),
    "floors of inference": (lambda: floors("inference"), "at most 8"),
    "rooms of models": (lambda: len(rooms("models")), "at most 22"),
    "rooms of diagnostics": (lambda: len(rooms("diagnostics")), "at most 15"),
    "getattr and hasattr": (lambda: calls("getattr", "hasattr"), "below 10"),
    "Any": (anys, "below 150"),
    "repeated lines, %": (repeated, "at most 2"),
    "lines with a paper's link": (paper_links, "at least 40"),
    "docstrings that are fragments": (lambda: len(fragments()), "0"),
    "strict type errors": (strict, "0"),
}


def main() -> None:
    """Print the gauges beside their aims."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fragments", action="store_true", help="list the docstrings that are fragments")
    if parser.parse_args().fragments:
        print("\n".join(fragments()))
        return
    for name, (measure, aim) in GAUGES.items():
        print(f"{name:32s} {measure():8.4g}   {aim}")


if __name__ == "__main__":
    main()
