#!/usr/bin/env bash
# `import arviz` fails where arviz-plots, which it only previews, meets a matplotlib that pip resolves beside it.
#
# The guess, before the run: packages that pip resolves together import; and the preview of ArviZ's new parts, which
#   is optional, is left out with a log line where it cannot be imported.
# What was seen: with matplotlib 3.11.2, `import arviz` ends in AttributeError: module 'matplotlib.style' has no
#   attribute 'core'. arviz-plots 0.8.0 reads matplotlib.style.core as an attribute; up to 3.10 matplotlib's own
#   imports made it one, since 3.11 only an import of that module does. The preview excuses ImportError alone.
#   Without arviz-plots, or after `import matplotlib.style.core`, ArviZ imports.
# Why it matters: whoever installs arviz-plots beside ArviZ 0.x, to try its figures, loses az.summary and az.loo of
#   every posterior that is stored.
# Versions: arviz 0.23.4, arviz-plots 0.8.0, matplotlib 3.11.2. Source: arviz/preview.py, `except ImportError`;
#   arviz_plots/__init__.py, `mplstyle.core.USER_LIBRARY_PATHS`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile arviz==0.23.4 matplotlib==3.11.2
export XDG_CACHE_HOME="$work/cache"
tell() { { "$work/venv/bin/python" -W ignore -c "$1" 2>&1 || true; } | tail -n 1; }
alone=$(tell "import arviz; print('imported')")
"$work/venv/bin/pip" install --quiet --no-compile arviz-plots==0.8.0 matplotlib==3.11.2
beside=$(tell "import arviz; print('imported')")
helped=$(tell "import matplotlib.style.core, arviz; print('imported')")
"$work/venv/bin/pip" check > /dev/null
echo "arviz 0.23.4, matplotlib 3.11.2: $alone"
echo "with arviz-plots 0.8.0, expected: imported; seen: $beside"
echo "after import matplotlib.style.core: $helped"
test "$alone" = imported -a "$helped" = imported || { echo "the behaviour has changed"; exit 1; }
test "$beside" = "AttributeError: module 'matplotlib.style' has no attribute 'core'" || { echo "the behaviour has changed"; exit 1; }
