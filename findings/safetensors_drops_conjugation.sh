#!/usr/bin/env bash
# safetensors saves a conjugated complex tensor of torch without its conjugation, and raises nothing.
#
# The guess, before the run: a round trip returns equal numbers, or saving raises, as z.conj().numpy() does.
# What was seen: z.conj() comes back as z: every imaginary part has the wrong sign. torch.conj is lazy, a flag on
#   the tensor over unchanged memory, and the bytes are taken from the memory.
# Why it matters: spectra and complex weights saved beside a model (a Fourier likelihood, a circulant covariance,
#   a Hermitian factor) change their sign between training and loading. Call resolve_conj() before saving.
# Versions: safetensors 0.8.0, torch 2.13.0 (CPU build). Source: safetensors/torch.py, which reads from data_ptr();
#   torch's page of torch.conj on the lazy conjugate view.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 safetensors==0.8.0
"$work/venv/bin/python" - <<'EOF'
import io

import safetensors
import torch
from safetensors.torch import load, save

print("safetensors", safetensors.__version__, "torch", torch.__version__)
z = torch.tensor([1 + 2j, 3 - 1j])
x = z.conj()
back = load(save({"x": x}))["x"]
print("saved:                ", x.tolist())
print("expected back: the same, or an error; seen:", back.tolist())

file = io.BytesIO()
torch.save(x, file)
file.seek(0)
print("torch.save and load:  ", torch.load(file).tolist())
resolved = load(save({"x": x.resolve_conj()}))["x"]
print("after resolve_conj(): ", resolved.tolist())
try:
    x.numpy()
except RuntimeError as error:
    print("x.numpy() refuses:    ", str(error).split(".")[0])

assert torch.equal(resolved, x)
assert torch.equal(back, z) and not torch.equal(back, x), "the behaviour has changed"
EOF
