#!/usr/bin/env bash
# Pyro's DiscreteHMM and GaussianHMM take a transition before the first observation.
#
# The guess, before the run: for one time step p(x1) = sum_z initial(z) p(x1 | z), the textbook's hidden Markov model.
# What was seen: p(x1) = sum_z0,z1 initial(z0) transition(z0, z1) p(x1 | z1). A GaussianHMM started sharply at 10 that
#   halves at each step gives the datum 5 a log density of .98, and 10 one of -555.
# Why it matters: in a sequence VAE whose guide infers z_1, a start distribution taken from a paper or from another
#   library and put into initial_logits shifts the whole chain by a step; only a stationary one hides it. Give the
#   first step a transition of its own (the identity of a DiscreteHMM), or start from the state before.
# Versions: pyro-ppl 1.9.2, torch 2.13.0. Source: the page of pyro.distributions.DiscreteHMM speaks of "an initial
#   categorical distribution over latent states"; the one of GaussianHMM has the order in its sketch of a program.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 pyro-ppl==1.9.2
"$work/venv/bin/python" - <<'EOF'
import pyro
import pyro.distributions as dist
import torch

print("pyro-ppl", pyro.__version__)
initial = torch.tensor([0.9, 0.1]).log()
transition = torch.tensor([[0.2, 0.8], [0.3, 0.7]]).log()
emission = dist.Normal(torch.tensor([-3.0, 3.0]), 1.0)
x = torch.tensor([0.5])
seen = dist.DiscreteHMM(initial, transition, emission, duration=1).log_prob(x).item()
expected = (initial + emission.log_prob(x)).logsumexp(-1).item()
moved = (initial[:, None] + transition).logsumexp(0)
after = (moved + emission.log_prob(x)).logsumexp(-1).item()
print(f"DiscreteHMM, log p(x1): expected {expected:.4f}, seen {seen:.4f}; after one transition {after:.4f}")

small = dist.MultivariateNormal(torch.zeros(1), 0.01 * torch.eye(1))
start = dist.MultivariateNormal(torch.full((1,), 10.0), 0.01 * torch.eye(1))
gaussian = dist.GaussianHMM(start, torch.tensor([[0.5]]), small, torch.eye(1), small, duration=1)
at = [gaussian.log_prob(torch.tensor([[value]])).item() for value in (10.0, 5.0)]
print(f"GaussianHMM from 10, factor .5, log p(x1): at 10 {at[0]:.2f} (expected the greater), at 5 {at[1]:.2f}")
assert abs(seen - after) < 1e-4 and abs(seen - expected) > 1, "the behaviour has changed"
assert at[1] > 0 > at[0], "the behaviour has changed"
EOF
