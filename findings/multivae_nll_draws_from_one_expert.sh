#!/usr/bin/env bash
# multivae's joint likelihood draws from one expert of a mixture and weighs by the mixture.
#
# The guess, before the run: compute_joint_nll of MMVAE and MoPoE is importance sampling with the mixture of experts, so
#   with 20,000 draws in one dimension it is the exact -log p(x) to two digits, at any place of a datum in its batch.
# What was seen: on a linear Gaussian pair of modalities whose experts are the exact posteriors of each, the exact value
#   is 3.645. MMVAE gives 3.40 or 3.95, by the modality that NumPy's generator picks for the whole call; MoPoE gives
#   3.40 for a batch of one, and other values for the same datum at other places of a batch. No number of draws
#   helps: all of a datum's draws come from one component, and are divided by the density of all.
# Why it matters: published comparisons of multimodal VAEs rest on this number. It can lie on either side of the truth,
#   also above log p(x), where an importance bound never should, and depends on the batch size.
# Versions: multivae 1.0.3, pythae 0.1.2, torch 2.12.1. Source: compute_joint_nll in multivae/models/mmvae/mmvae_model.py
#   and multivae/models/mopoe/mopoe_model.py, with encode and deterministic_mixture_component_selection.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.12.1 torchvision==0.27.1 multivae==1.0.3 pythae==0.1.2
OMP_NUM_THREADS=1 "$work/venv/bin/python" -W ignore - <<'PYTHON'
import math
from importlib.metadata import version

import numpy as np
import torch
from multivae.data.datasets import MultimodalBaseDataset
from multivae.models import MMVAE, MMVAEConfig, MoPoE, MoPoEConfig
from multivae.models.base import BaseDecoder, BaseEncoder, ModelOutput

SCALES = {"a": 1.0, "b": 0.5}  # x_m = z + scale_m e, z ~ N(0, 1)
X = {"a": 1.5, "b": -0.5}


class Expert(BaseEncoder):
    """The exact posterior of z given one modality."""

    def __init__(self, scale):
        super().__init__()
        self.latent_dim = 1
        self.shrink, self.log_variance = 1 / (1 + scale**2), math.log(scale**2 / (1 + scale**2))

    def forward(self, x):
        return ModelOutput(embedding=self.shrink * x, log_covariance=torch.full_like(x, self.log_variance))


class Identity(BaseDecoder):
    def __init__(self):
        super().__init__()
        self.latent_dim = 1
        self.slope = torch.nn.Parameter(torch.ones(1))

    def forward(self, z):
        return ModelOutput(reconstruction=self.slope * z)


def nll(model, copies=1, seed=0):
    """The mean over copies of one datum."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    data = MultimodalBaseDataset({name: torch.full((copies, 1), value) for name, value in X.items()})
    return float(model.compute_joint_nll(data, K=20_000, batch_size_K=5_000)) / copies


settings = {
    "n_modalities": 2,
    "latent_dim": 1,
    "input_dims": {name: (1,) for name in SCALES},
    "decoders_dist": {name: "normal" for name in SCALES},
    "decoder_dist_params": {name: {"scale": scale} for name, scale in SCALES.items()},
}
parts = {
    "encoders": {name: Expert(scale) for name, scale in SCALES.items()},
    "decoders": {name: Identity() for name in SCALES},
}
covariance = torch.ones(2, 2) + torch.diag(torch.tensor([scale**2 for scale in SCALES.values()]))
exact = -torch.distributions.MultivariateNormal(torch.zeros(2), covariance).log_prob(torch.tensor(list(X.values()))).item()
print("multivae", version("multivae"), f"exact -log p(x) {exact:.3f}")

mixture = MMVAE(MMVAEConfig(prior_and_posterior_dist="normal", learn_prior=False, **settings), **parts)
found = [nll(mixture, seed=seed) for seed in range(8)]
print("MMVAE, eight seeds:", " ".join(f"{value:.3f}" for value in found))
assert all(abs(value - exact) > 0.15 for value in found)
assert min(found) < exact < max(found)

products = MoPoE(MoPoEConfig(**settings), **parts)
for copies in (1, 2, 3):
    print(f"MoPoE, the same datum {copies} times:", f"{nll(products, copies):.3f}")
assert exact - nll(products, 1) > 0.15
assert abs(nll(products, 1) - nll(products, 3)) > 0.15
PYTHON
