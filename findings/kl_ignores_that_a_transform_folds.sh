#!/usr/bin/env bash
# torch's KL of two transformed distributions is that of their bases, also through a transform that is no bijection.
#
# The guess, before the run: |N(-3, 1)| and |N(3, 1)| are the same distribution, so the divergence is 0; since no
#   closed form is registered for a folded one, kl_divergence raises NotImplementedError.
# What was seen: 18, the divergence of N(-3, 1) from N(3, 1). Softmax, which forgets a shift common to all logits,
#   gives 54 for two distributions on the simplex that are equal. A map can only bring distributions nearer
#   (data processing), so the value is an upper bound, and the error has no limit.
# Why it matters: an objective with an analytic KL (Pyro's TraceMeanField_ELBO, NumPyro's, one's own) takes whatever
#   the table returns. A site whose prior and guide are softmax-transformed normals, as in topic models, is charged
#   for a direction of the logits that the simplex does not have.
# Versions: torch 2.13.0 (CPU build). Source: torch/distributions/kl.py, _kl_transformed_transformed, compares the
#   transforms and the event shapes and never looks at Transform.bijective.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6
"$work/venv/bin/python" - <<'EOF'
import torch
from torch.distributions import (AbsTransform, Independent, Normal, SoftmaxTransform, TransformedDistribution,
                                 kl_divergence)


def folded(loc):
    return TransformedDistribution(Normal(torch.tensor(loc), 1.0), [AbsTransform()])


def on_simplex(shift):
    logits = Independent(Normal(torch.tensor([0.0, 1.0, 2.0]) + shift, 1.0), 1)
    return TransformedDistribution(logits, [SoftmaxTransform()])


print("torch", torch.__version__)
absolute = kl_divergence(folded(-3.0), folded(3.0)).item()
print("KL(|N(-3,1)| || |N(3,1)|), expected 0 or NotImplementedError; seen:", absolute)
simplex = kl_divergence(on_simplex(-3.0), on_simplex(3.0)).item()
print("KL of two equal softmax normals, expected the same;          seen:", simplex)

torch.manual_seed(0)
a, b = folded(-3.0).sample((200_000,)), folded(3.0).sample((200_000,))
print("quartiles of the two folded normals:", a.quantile(torch.tensor([0.25, 0.75])).tolist(),
      b.quantile(torch.tensor([0.25, 0.75])).tolist())
torch.manual_seed(0)
c = on_simplex(-3.0).sample((5,))
torch.manual_seed(0)
assert torch.allclose(c, on_simplex(3.0).sample((5,)), atol=1e-6), "equal draws from equal noise"
assert AbsTransform.bijective is False and SoftmaxTransform.bijective is False
assert absolute == 18.0 and abs(simplex - 54.0) < 1e-4, "the behaviour has changed"
EOF
