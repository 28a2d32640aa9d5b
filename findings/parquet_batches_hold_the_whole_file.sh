#!/usr/bin/env bash
# Batches of a parquet file hold all of the file since pyarrow 25; up to 24 they held a row group.
#
# The guess, before the run: ParquetFile.iter_batches(1024) of a file of 68 MB in 32 row groups holds a row group or two,
#   some 4 MB, in any release: batches are there for files that are larger than memory.
# What was seen: so it is in 24.0.0. In 26.0.1 at most 70 MB are held, the bytes of all row groups that were read and a
#   batch; pre_buffer=False brings 5 MB back, and the same batches.
# Why it matters: a stream of training batches that ran yesterday runs out of memory after an upgrade.
# Versions: pyarrow 26.0.1 beside 24.0.0. Source: pre_buffer of ParquetFile is True by default since 25.0.0 (apache/arrow,
#   issue 49923); what it has read ahead is let go with the file alone (issue 39808).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > made.py <<'PY'
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

x = np.random.default_rng(0).standard_normal((1 << 17, 128), np.float32)
table = pa.table({f"x{i}": x[:, i] for i in range(128)})
pq.write_table(table, "x.parquet", row_group_size=4096, use_dictionary=False)
PY
cat > held.py <<'PY'
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq

options = {"pre_buffer": False} if "pre_buffer=False" in sys.argv else {}
size, rows, most = os.path.getsize("x.parquet"), 0, 0
for batch in pq.ParquetFile("x.parquet", **options).iter_batches(1024, use_threads=False):
    rows += len(batch)
    most = max(most, pa.total_allocated_bytes())
print("pyarrow", pa.__version__, *sys.argv[2:], f"holds at most {most / 1e6:.1f} MB of {size / 1e6:.1f} MB")
assert rows == 1 << 17
held = "all" if most > 0.9 * size else "few" if most < 0.15 * size else "some"
assert held == sys.argv[1], "the behaviour has changed"
PY
for version in 24.0.0 26.0.1; do
    "${PYTHON:-python3}" -m venv "$work/$version"
    "$work/$version/bin/pip" install --quiet --no-compile "pyarrow==$version" numpy
done
24.0.0/bin/python -W error made.py
24.0.0/bin/python -W error held.py few
26.0.1/bin/python -W error held.py all
26.0.1/bin/python -W error held.py few pre_buffer=False
