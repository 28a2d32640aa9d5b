"""Make the reports of the gallery anew.

    python docs/gallery.py [NAME ...]

The commands are those that gallery.md shows, run in an empty folder; their report.html is kept in docs/gallery.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def commands() -> dict[str, str]:
    """The block of commands of every report, by its name on the page."""
    page = (HERE / "gallery.md").read_text()
    sections = re.findall(r"\(gallery/(\w+)\.html\).*?```bash\n(.*?)```", page, re.DOTALL)
    return dict(sections)


def make(name: str, block: str) -> None:
    """Run the commands where nothing else is, with the commands of this environment, and keep the report."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["bash", "-euc", block], check=True, cwd=folder, env={**os.environ, "PATH": path})
        report = (Path(folder) / name / "report.html").read_text()
    # Where the data lie on this machine is nobody's business.
    if data := os.environ.get("PPL_VAE_DATA"):
        report = report.replace(data, "$PPL_VAE_DATA")
    (HERE / "gallery").mkdir(exist_ok=True)
    (HERE / "gallery" / f"{name}.html").write_text(report)


if __name__ == "__main__":
    known = commands()
    if unknown := set(sys.argv[1:]) - set(known):
        sys.exit(f"no report called {', '.join(sorted(unknown))}; choose from: {', '.join(known)}")
    for name in sys.argv[1:] or known:
        make(name, known[name])
