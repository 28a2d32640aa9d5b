#!/usr/bin/env bash
# torchmetrics' R2Score of a temperature in Kelvin is not that in degrees Celsius, and of larger offsets above 1.
#
# The guess, before the run: R^2 does not change when the same constant is added to prediction and target, to three
#   digits in single precision while the offset is some hundred deviations.
# What was seen: .8149 is right at any offset (scikit-learn). With 300 added to numbers of deviation 1 it is .820, with
#   3000 .885, with 10,000 1.014 and with 100,000 1.0001, from which nobody would see that anything is wrong.
#   ExplainedVariance is the same, RelativeSquaredError 2e9 in place of .185. PearsonCorrCoef and
#   ConcordanceCorrCoef, which keep running means, are right to four digits.
# Why it matters: the share of variance explained is what reconstructions of 16-bit images, pressures, temperatures and
#   times are told by, and the error is upwards. Subtract a constant first. ppl_vae takes no metric from it.
# Versions: torchmetrics 1.9.0, torch 2.13.0 (CPU build), scikit-learn 1.9.1, numpy 2.3.5, scipy 1.17.1. Source:
#   torchmetrics/functional/regression/r2.py: sum of squares less the squared sum over the number, in the data's type.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 torchmetrics==1.9.0 \
    numpy==2.3.5 scipy==1.17.1 scikit-learn==1.9.1
"$work/venv/bin/python" -W ignore - <<'EOF'
import torch
import torchmetrics
from sklearn.metrics import r2_score

print("torchmetrics", torchmetrics.__version__, "torch", torch.__version__)
torch.manual_seed(0)
plain = torch.randn(1000)
noisy = plain + 0.5 * torch.randn(1000)
seen = {}
for offset in (0.0, 30.0, 300.0, 3000.0, 10_000.0, 100_000.0):
    told, target = plain + offset, noisy + offset
    metrics = [torchmetrics.R2Score(), torchmetrics.ExplainedVariance(), torchmetrics.RelativeSquaredError(),
               torchmetrics.ConcordanceCorrCoef()]
    for start in range(0, 1000, 50):
        for metric in metrics:
            metric.update(told[start : start + 50], target[start : start + 50])
    exact = r2_score(target.double(), told.double())
    seen[offset] = [metric.compute().item() for metric in metrics]
    print(f"offset {offset:6g}: R2 expected {exact:.4f}, seen {seen[offset][0]:.4f}; explained variance "
          f"{seen[offset][1]:.4f}; relative squared error expected {1 - exact:.4f}, seen {seen[offset][2]:.4g}; "
          f"concordance {seen[offset][3]:.4f}")
    assert abs(exact - 0.815) < 1e-3 and abs(seen[offset][3] - 0.899) < 1e-3
assert abs(seen[0.0][0] - 0.8149) < 1e-3
assert abs(seen[3000.0][0] - 0.815) > 0.02 and seen[1e4][0] > 0.9, "the behaviour has changed"
assert abs(seen[1e5][0] - 1) < 0.05 and seen[1e5][2] > 1e3, "the behaviour has changed"
EOF
