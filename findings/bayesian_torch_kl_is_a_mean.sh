#!/usr/bin/env bash
# The KL that bayesian-torch returns is a mean over weights plus a mean over biases, for a prior of another width.
#
# The guess, before the run: kl_loss() of a layer is KL(q || p) summed over its weights, in nats, as the ELBO has it.
# What was seen: for a layer of 50 x 20 without a bias it is the sum over 1000. With a bias it doubles, though the 20
#   biases hold 1/50 of the divergence: each tensor of parameters contributes its own mean, so no factor for
#   the whole network turns the value into the KL. prior_variance=4 is used as a standard deviation of 4.
# Why it matters: a Bayesian decoder trained with likelihood + kl_loss() has a KL term a thousand times too weak (the
#   package's examples divide by the batch size besides): a nearly free posterior, and no bound on the evidence.
#   The dense and convolutional layers share the rule; sum the closed form over named parameters instead.
# Versions: bayesian-torch 0.5.0, torch 2.13.0 (CPU build). Source: bayesian_torch/layers/base_variational_layer.py,
#   kl_div returns kl.mean(); linear_variational.py fills prior_weight_sigma with prior_variance, documented as the
#   "variance of the prior".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6
# Its requirements are far more than its layers import.
"$work/venv/bin/pip" install --quiet --no-compile --no-deps bayesian-torch==0.5.0
"$work/venv/bin/python" -W ignore - <<'EOF'
import torch
from bayesian_torch.layers import LinearReparameterization
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import softplus

PRIOR = Normal(0.0, 1.0)
torch.manual_seed(0)
print("bayesian-torch 0.5.0, torch", torch.__version__)
for bias in (False, True):
    layer = LinearReparameterization(50, 20, prior_mean=0, prior_variance=1, bias=bias)
    parts = [kl_divergence(Normal(layer.mu_weight, softplus(layer.rho_weight)), PRIOR)]
    if bias:
        parts.append(kl_divergence(Normal(layer.mu_bias, softplus(layer.rho_bias)), PRIOR))
    expected = sum(part.sum().item() for part in parts)
    means = sum(part.mean().item() for part in parts)
    seen = layer.kl_loss().item()
    print(f"bias {bias!s:5}: KL expected {expected:.2f} nats, seen {seen:.4f} (means of the tensors: {means:.4f}); "
          f"expected / seen = {expected / seen:.0f}")
    assert abs(seen - means) < 1e-4 and expected > 100 * seen, "the behaviour has changed"

layer = LinearReparameterization(50, 20, prior_mean=0, prior_variance=4, bias=False)
posterior = Normal(layer.mu_weight, softplus(layer.rho_weight))
expected, wide = (kl_divergence(posterior, Normal(0.0, std)).mean().item() for std in (2.0, 4.0))
seen = layer.kl_loss().item()
print(f"prior_variance=4: mean KL expected {expected:.4f} (std 2), seen {seen:.4f} (std 4: {wide:.4f})")
assert abs(seen - wide) < 1e-4, "the behaviour has changed"
EOF
