#!/usr/bin/env bash
# torch.cdist of 26 points gives other distances than of 25: with an offset of 10,000 most of them are 0.
#
# The guess of who reads the page, put into words after the first run:
#   the distance of two points does not depend on how many others stand in the batch, but for
#   the last digit, and that of a point to itself is 0.
# What was seen: up to 25 points the error is 3e-7. From 26 points on, two points 1.4e-4 apart have the distance 0; with
#   an offset of 1000 to points of deviation 1 a point is up to .5 from itself, and with 10,000 more than half of all
#   pairs are 0 apart, others 5.7 in place of 1. compute_mode="donot_use_mm_for_euclid_dist" is right at any number.
# Why it matters: kernels, nearest neighbours and MMD of codes or of images that have an offset change with the size of
#   the batch: a test of 20 rows passes, and a bandwidth by the median is of rounding. Subtract the mean or set the
#   mode. ppl_vae's codebook and reference distances set the mode, and its latent holes subtract the centre.
# Versions: torch 2.13.0 (CPU build), numpy 2.4.6. Source: the page of torch.cdist names the matrix product above 25
#   rows as a matter of speed and has no word on the precision.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6
"$work/venv/bin/python" -W ignore - <<'EOF'
import torch

print("torch", torch.__version__)
torch.manual_seed(0)
plain = torch.randn(30, 2)
seen = {}
for offset in (0.0, 10.0, 1000.0, 10_000.0):
    points = plain + offset
    apart = torch.cdist(points.double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist")
    for rows in (25, 26):
        told = torch.cdist(points[:rows], points[:rows])
        error = (told - apart[:rows, :rows]).abs().max().item()
        lost = ((told == 0) & (apart[:rows, :rows] > 0)).double().mean().item()
        seen[offset, rows] = error, lost, told.diagonal().max().item()
        print(f"offset {offset:5g}, {rows} points: largest error expected 1e-6, seen {error:.1e}; of a point to itself "
              f"expected 0, seen up to {seen[offset, rows][2]:.2g}; pairs apart that have the distance 0: {lost:.2f}")
    direct = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    assert (direct - apart).abs().max() < 1e-6 and seen[offset, 25][0] < 1e-6
close = torch.cat((plain[:1], plain[:1] + 1e-4, plain[1:]))
few, many = torch.cdist(close[:25], close[:25])[0, 1].item(), torch.cdist(close[:26], close[:26])[0, 1].item()
print(f"two points 1.41e-4 apart: {few:.2e} among 25, {many:.2e} among 26")
assert abs(few - 1.41e-4) < 1e-6 and abs(many - 1.41e-4) > 2e-5, "the behaviour has changed"
assert seen[1000.0, 26][2] > 0.1 and seen[10_000.0, 26][1] > 0.4, "the behaviour has changed"
EOF
