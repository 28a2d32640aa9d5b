#!/usr/bin/env bash
# The newest pyarrow installs beside NumPy 1.26 without a word, cannot be imported there, and pandas says it is missing.
#
# The guess, before the run: pip takes the newest pyarrow that works with NumPy 1.26, or `pip check` names the conflict;
#   and pandas passes pyarrow's own error on.
# What was seen: pyarrow 26.0.1 is installed, `pip check` finds no broken requirements, since pyarrow asks for no NumPy at
#   all; `import pyarrow` ends in an ImportError that asks for NumPy 2.0. pandas 2.1.4 then says of read_parquet "Missing
#   optional dependency 'pyarrow' ... Use pip or conda to install pyarrow", and of dtype "int64[pyarrow]" only
#   "name 'pa' is not defined".
# Why it matters: an environment that is held at NumPy 1.26, and a .parquet file; the remedy that is told changes nothing.
# Versions: pyarrow 26.0.1, pandas 2.1.4, NumPy 1.26.4. Source: pandas/compat/_optional.py turns every ImportError into the
#   words for a library that is not there; the metadata of pyarrow has no Requires-Dist.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3.11}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile numpy==1.26.4 pandas==2.1.4 pyarrow==26.0.1
echo "pip check: $("$work/venv/bin/pip" check)"
cd "$work"
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import requires, version

print("pyarrow", version("pyarrow"), "NumPy", version("numpy"), "pandas", version("pandas"))
print("pyarrow asks for:", requires("pyarrow"))


def told(run):
    try:
        run()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


import pandas as pd

seen = {
    "import pyarrow": told(lambda: __import__("pyarrow")),
    "to_parquet": told(lambda: pd.DataFrame({"a": [1.0]}).to_parquet("a.parquet")),
    "int64[pyarrow]": told(lambda: pd.Series([1], dtype="int64[pyarrow]")),
}
for name, words in seen.items():
    print(f"{name}:", " ".join(words.split())[:230])
assert "NumPy 2.0 or newer" in seen["import pyarrow"], "the behaviour has changed"
assert "Missing optional dependency 'pyarrow'" in seen["to_parquet"], "the behaviour has changed"
assert "NumPy" not in seen["to_parquet"], "the behaviour has changed"
assert seen["int64[pyarrow]"].startswith("NameError"), "the behaviour has changed"
PY
