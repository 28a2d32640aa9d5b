#!/usr/bin/env bash
# pythae's VAE.get_nll takes batch_size draws where fewer are asked for, and returns the log likelihood, not its negative.
#
# The guess, before the run: get_nll(x, n_samples=1), with the default batch_size=100, is the negative of a bound from
#   one draw, whose mean over repeats is the negative ELBO; batch_size "avoids memory issues" and changes no number.
# What was seen: n_samples=1 is the bound of 100 draws: on a linear-Gaussian model with the prior as encoder its mean
#   lies at -5.51 beside log p(x) = -5.48, where one draw has -9.6. With batch_size=1 the same call gives -9.6. 250
#   draws with batch_size=100 are 200. The sign is that of log p(x), though name and docstring say negative.
# Why it matters: "NLL with k draws" of a paper that used the defaults is another bound, nearer to log p(x), and a
#   comparison with one draw elsewhere flatters it; a table of NLLs has its order reversed if the sign is trusted.
# Versions: pythae 0.1.2, torch 2.13.0. Source: get_nll in pythae/models/vae/vae_model.py (x is repeated batch_size
#   times whatever n_samples); other models of the package repeat the code.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.13.0 numpy==2.4.6 pythae==0.1.2
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import math
from importlib.metadata import version

import numpy as np
import torch
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch.distributions import MultivariateNormal, Normal

torch.manual_seed(0)
D, L = 3, 2
W = 0.7 * torch.randn(D, L)


class PriorEncoder(BaseEncoder):
    def forward(self, x):
        return ModelOutput(embedding=torch.zeros(len(x), L), log_covariance=torch.zeros(len(x), L))


class LinearDecoder(BaseDecoder):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(W)

    def forward(self, z):
        return ModelOutput(reconstruction=z @ self.weight.T)


class PriorNetwork(PriorEncoder):
    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Linear(1, 1)


vae = VAE(VAEConfig(input_dim=(D,), latent_dim=L, reconstruction_loss="mse"), PriorNetwork(), LinearDecoder())
marginal = MultivariateNormal(torch.zeros(D), torch.eye(D) + W @ W.T)
x = marginal.sample((300,))
exact = marginal.log_prob(x).mean().item()
# With q(z|x) the prior, the ELBO is E log N(x; W z, I) in closed form.
elbo = (-0.5 * (x.square().sum(1) + W.square().sum()) - D / 2 * math.log(2 * math.pi)).mean().item()


def by_hand(draws):
    z = torch.randn(draws, len(x), L)
    return (Normal(z @ W.T, 1.0).log_prob(x).sum(-1).logsumexp(0) - math.log(draws)).mean().item()


with torch.no_grad():
    asked = np.mean([vae.get_nll(x, n_samples=1) for _ in range(5)])
    single = np.mean([vae.get_nll(x, n_samples=1, batch_size=1) for _ in range(40)])
    one, hundred = (np.mean([by_hand(k) for _ in range(40)]) for k in (1, 100))
print("pythae", version("pythae"), f"log p(x) {exact:.3f}, ELBO {elbo:.3f}; by hand: 1 draw {one:.3f}, 100 draws {hundred:.3f}")
print(f"get_nll(n_samples=1) {asked:.3f}; get_nll(n_samples=1, batch_size=1) {single:.3f}")
assert abs(one - elbo) < 0.15 and abs(single - elbo) < 0.15
assert abs(asked - hundred) < 0.15
assert asked - elbo > 1 and asked < 0
PYTHON
