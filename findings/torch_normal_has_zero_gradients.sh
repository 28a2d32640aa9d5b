#!/usr/bin/env bash
# torch.normal(mean, std) keeps an autograd node, and every gradient through it is zero.
#
# The guess, before the run: the draw is cut from its parameters, as Normal(mean, std).sample() is, so that
#   requires_grad is False and backward() raises; failing that, the pathwise gradients (1 and eps) come out.
# What was seen: requires_grad is True, backward() runs without a word, and the gradients for mean and std are
#   exactly 0. The same holds for torch.bernoulli(p) and torch.poisson(rate), and for torch.func.jvp.
# Why it matters: z = torch.normal(mu, sigma) looks like the reparameterised draw of a VAE. The encoder then learns
#   from the KL term alone and its posterior collapses onto the prior; nothing complains, no gradient is None.
# Versions: torch 2.13.0 (CPU build). Source: the table of derivatives in torch, tools/autograd/derivatives.yaml,
#   gives zeros for normal, bernoulli and poisson; the page of torch.normal does not say so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6
"$work/venv/bin/python" - <<'EOF'
import torch


def gradients(draw):
    """Of E[z^2] for z ~ N(1, 2^2), estimated with 100,000 draws."""
    torch.manual_seed(0)
    mean = torch.tensor(1.0, requires_grad=True)
    std = torch.tensor(2.0, requires_grad=True)
    z = draw(mean.expand(100_000), std.expand(100_000))
    z.square().mean().backward()
    return z.requires_grad, mean.grad.item(), std.grad.item()


print("torch", torch.__version__)
print("exact gradients of E[z^2]:            mean 2, std 4")
by_hand = gradients(lambda mean, std: mean + std * torch.randn(mean.shape))
print("mean + std * randn:                  ", by_hand)
seen = gradients(torch.normal)
print("torch.normal, expected: an error, or the same; seen:", seen)

p = torch.full((4,), 0.3, requires_grad=True)
torch.bernoulli(p).sum().backward()
rate = torch.full((4,), 3.0, requires_grad=True)
torch.poisson(rate).sum().backward()
print("torch.bernoulli, torch.poisson:       ", p.grad.tolist(), rate.grad.tolist())

assert abs(by_hand[1] - 2) < 0.1 and abs(by_hand[2] - 4) < 0.1
assert seen == (True, 0.0, 0.0), "the behaviour has changed"
assert not p.grad.any() and not rate.grad.any(), "the behaviour has changed"
EOF
