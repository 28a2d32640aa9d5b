#!/usr/bin/env bash
# torch.manual_seed takes 64 bits, and the generator of the CPU looks at the lowest 32 alone.
#
# The guess, before the run: seeds anywhere in the documented range, -2^63 to 2^64 - 1, name different streams.
# What was seen: seed 1 and seed 1 + 2^32 give the same numbers, and so do 0 and 2^40, and -1 and 2^32 - 1, while
#   initial_seed() reports the whole of each.
# Why it matters: seeds made as (run << 32) + stream, as a 64-bit hash of a name, or as base + 2^32 * chain repeat
#   the same noise: "independent" particles, chains or repeats are copies, and their spread is too small. Among
#   80,000 random 64-bit seeds a coincidence is more likely than not.
# Versions: torch 2.13.0 (CPU build). Source: the page of torch.manual_seed on the range; ATen's mt19937, whose
#   state is initialised from a 32-bit word.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6
"$work/venv/bin/python" - <<'EOF'
import torch


def draws(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1000, generator=generator), generator.initial_seed()


print("torch", torch.__version__)
same = []
for a, b in ((1, 1 + 2**32), (0, 2**40), (-1, 2**32 - 1), (1, 2)):
    (x, seed_x), (y, seed_y) = draws(a), draws(b)
    assert seed_x != seed_y
    same.append(torch.equal(x, y))
    print(f"seeds {a} and {b}: expected different numbers; seen {'the same' if same[-1] else 'different'}")

# Eight "independent" repeats of an estimate, one seed each.
repeats = torch.stack([draws(7 + (run << 32))[0].mean() for run in range(8)])
print("spread of 8 repeats with seeds 7 + (run << 32), expected 0.03; seen", repeats.std().item())
assert same == [True, True, True, False] and repeats.std() == 0, "the behaviour has changed"
EOF
