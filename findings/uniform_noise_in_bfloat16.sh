#!/usr/bin/env bash
# torch.rand in bfloat16 is exactly 0 once in 512 draws, and never above .997.
#
# The guess, before the run: the draw is made in float32 and rounded, so that 0 is as rare as there (below 1e-6).
# What was seen: 0 in .195 % of the draws (float16: .024 %), a mean of .498, and a greatest value of 255/256.
#   Logistic and Gumbel noise made from it, log u - log(1 - u) and -log(-log u), is -inf that often; the greatest of
#   a million Gumbel draws is 5.54 (float32: 13.8).
#   torch.randn and exponential_ in bfloat16 have no such zeros.
# Why it matters: binary-concrete and Gumbel-softmax latents, and uniform dequantisation, written by hand in the dtype
#   of a half-precision decoder: with 784 units, one or two draws in every image are infinite, and the upper tail,
#   where a category wins, is cut. Draw the noise in float32 and cast what comes out.
# Versions: torch 2.13.0 (CPU build). Source: the page of torch.rand says "uniform on [0, 1)" and nothing of dtypes;
#   ATen fills the mantissa's digits of the dtype (8 for bfloat16) with random bits.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6
"$work/venv/bin/python" - <<'EOF'
import torch

print("torch", torch.__version__)
share = {}
for dtype in (torch.float32, torch.float16, torch.bfloat16):
    torch.manual_seed(0)
    u = torch.rand(1_000_000, dtype=dtype)
    wide = u.double()
    gumbel = -(-wide.log()).log()
    share[dtype] = (u == 0).double().mean().item()
    print(f"{dtype!s:15} zeros: expected < 1e-6, seen {share[dtype]:.1e}; "
          f"mean {wide.mean():.4f}; max u {wide.max():.5f}; "
          f"Gumbel noise infinite {gumbel.isinf().double().mean():.1e}, greatest {gumbel.max():.2f}")
normal = torch.randn(1_000_000, dtype=torch.bfloat16)
print(f"randn in bfloat16: zeros {(normal == 0).double().mean():.1e}, variance {normal.double().var():.4f}")
assert share[torch.float32] < 1e-5 and (normal == 0).double().mean() < 1e-4
assert 0.0015 < share[torch.bfloat16] < 0.0025, "the behaviour has changed"
EOF
