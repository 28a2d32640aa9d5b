"""Prepare a release and do everything but the upload: ``make release``.

Checks that the version stands in CHANGELOG.md and CITATION.cff and that the tree is clean, builds the wheel and the
sdist in isolation, installs the wheel in an empty environment in an empty folder, and trains a model there. What is
left to do is printed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
TRIAL = """
import ppl_vae as pv
recipe = pv.make("vae", event_shape=(1, 8, 8), latent_dim=2)
result = pv.fit(recipe, pv.load_dataset("digits", binarize="dynamic"), epochs=1, progress=False)
assert result.history.train_elbo.iloc[-1] < 0, result.history
print(pv.__version__, "trained for an epoch")
"""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command; what it printed."""
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def require_ready(version: str) -> None:
    """Refuse a release whose papers do not agree with each other, or with what is committed."""
    if run("git", "status", "--porcelain").strip():
        sys.exit("the tree has changes that are not committed")
    if f"version: {version}" not in (ROOT / "CITATION.cff").read_text():
        sys.exit(f"CITATION.cff does not name version {version}")
    if f"## {version}" not in (ROOT / "CHANGELOG.md").read_text():
        sys.exit(f"CHANGELOG.md has no section {version!r}")


def build(folder: Path) -> Path:
    """Build sdist and, from it, the wheel, each in an environment of its own; the wheel."""
    builder = folder / "builder"
    venv.create(builder, with_pip=True)
    run(builder / "bin" / "pip", "install", "-q", "build")
    run(builder / "bin" / "python", "-m", "build", "--outdir", ROOT / "dist")
    return max((ROOT / "dist").glob("*.whl"), key=lambda wheel: wheel.stat().st_mtime)


def try_wheel(wheel: Path, folder: Path) -> str:
    """Install the wheel alone and train with it, far from the checkout; what it printed."""
    environment, empty = folder / "user", folder / "empty"
    empty.mkdir()
    venv.create(environment, with_pip=True)
    run(environment / "bin" / "pip", "install", "-q", wheel)
    return run(environment / "bin" / "python", "-c", TRIAL, cwd=empty)


def main() -> None:
    """Check, build, try, and say what is left."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    require_ready(version)
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        print(try_wheel(wheel, Path(folder)))
    print(f"{wheel.relative_to(ROOT)} is ready. Left to do, by hand:")
    print(f"  git tag v{version} && git push origin v{version}")
    print("  twine upload dist/*")


if __name__ == "__main__":
    main()
