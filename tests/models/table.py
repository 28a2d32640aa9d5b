"""One table of constructors; every law of tests/models is a test over it. A new part adds one row."""

from dataclasses import dataclass

import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.networks import MLP, Conv

LIKELIHOODS = {
    "bernoulli": "bernoulli",
    "bernoulli-relaxed": "bernoulli-relaxed",
    "continuous-bernoulli": "continuous-bernoulli",
    "gaussian-fixed": {"name": "gaussian", "sigma": 0.3},
    "gaussian-learned": {"name": "gaussian", "sigma": "learned", "initial_sigma": 0.5},
    "gaussian-per-pixel": {"name": "gaussian", "sigma": "per-pixel"},
    "gaussian-optimal": {"name": "gaussian", "sigma": "optimal"},
    "student-t": {"name": "student-t", "df": 4.0, "sigma": "learned", "initial_sigma": 0.5},
    "student-t-per-pixel": {"name": "student-t", "df": 2.5, "sigma": "per-pixel"},
    "poisson": "poisson",
    "negative-binomial": {"name": "negative-binomial", "initial_dispersion": 2.5},
    "categorical": {"name": "categorical", "levels": 5},
    "discretised-logistic": {"name": "discretised-logistic", "levels": 5},
    "log-normal": {"name": "log-normal", "initial_sigma": 0.5},
    "censored-gaussian": {"name": "censored-gaussian", "low": 0.25, "high": 0.75},
    "beta": "beta",
    "zero-inflated-poisson": "zero-inflated-poisson",
    "zero-inflated-negative-binomial": {"name": "zero-inflated-negative-binomial", "initial_dispersion": 2.5},
    "ordinal": {"name": "ordinal", "levels": 4},
    "nominal": {"name": "nominal", "levels": ["a", "b", "c", "d"]},
    "columns": {
        "name": "columns",
        "kinds": [
            ("a", "gaussian"),
            ("b", {"name": "ordinal", "levels": 4}),
            ("c", "log-normal"),
            ("d", {"name": "nominal", "levels": 3}),
        ],
    },
    "missing-gaussian": {"name": "missing-pixels", "of": {"name": "gaussian", "sigma": 0.3}},
    "missing-bernoulli": {"name": "missing-pixels", "of": "bernoulli"},
    "missing-optimal": {"name": "missing-pixels", "of": {"name": "gaussian", "sigma": "optimal"}},
}
BINARY = ("bernoulli", "missing-bernoulli")
COUNTS = ("poisson", "negative-binomial", "zero-inflated-poisson", "zero-inflated-negative-binomial")
CODES = ("ordinal", "nominal")
OPEN = ("log-normal", "beta")
GREY_LEVELS = ("categorical", "discretised-logistic")
POSTERIORS = {
    "log-variance": "diagonal",
    "log-scale": {"name": "diagonal", "scale": "log-scale"},
    "softplus": {"name": "diagonal", "scale": "softplus"},
    "softplus-variance": {"name": "diagonal", "scale": "softplus-variance"},
    "full-covariance": "full-covariance",
    "low-rank": {"name": "low-rank", "rank": 2},
    "iaf": {"name": "flow", "kind": "iaf", "hidden": 8},
    "spline": {"name": "flow", "kind": "spline", "hidden": 8},
    "mixture": {"name": "mixture", "num_components": 3},
    "semi-amortised": {"name": "semi-amortised", "num_steps": 2},
    "dais": {"name": "dais", "of": {"name": "diagonal", "scale": "softplus"}, "num_steps": 2},
    "hamiltonian": {"name": "hamiltonian", "num_steps": 2},
    "semi-amortised-plain": {"name": "semi-amortised", "steps": "plain", "second_order": False},
}
CURVED = {
    "uniform-sphere": ("von-mises-fisher", "power-spherical"),
    "uniform-torus": ("von-mises",),
    "wrapped-normal": ("wrapped-normal",),
}
POSTERIORS |= {posterior: posterior for posteriors in CURVED.values() for posterior in posteriors}
# Their density is known at their own draws alone.
CHAINS = ("dais", "hamiltonian")
GAUSSIAN = (
    "log-variance",
    "log-scale",
    "softplus",
    "softplus-variance",
    "full-covariance",
    "low-rank",
    "semi-amortised",
    "semi-amortised-plain",
)
PRIORS = {
    "standard": "standard",
    "diagonal": "diagonal",
    "mixture": {"name": "mixture", "num_components": 3},
    "vamp": {"name": "vamp", "num_components": 4},
    "flow": {"name": "flow", "hidden": 8},
    "coupling-flow": {"name": "flow", "kind": "coupling", "hidden": 8},
    "autoregressive": {"name": "autoregressive", "num_components": 2, "hidden": 8},
    "noise-contrastive": {"name": "noise-contrastive", "hidden": 8, "bound": 2.0},
    "diffusion": {"name": "diffusion", "hidden": 8, "num_steps": 4},
}
PRIORS |= {prior: prior for prior in CURVED}
FLAT_POSTERIORS = [name for name in POSTERIORS if not any(name in of for of in CURVED.values())]
NETWORKS = {
    "mlp": ((2, 3), MLP((8,))),
    "mlp-vector": ((5,), MLP((6, 4), "tanh")),
    "mlp-table": ((4,), MLP((6, 4))),
    "conv": ((2, 7, 6), Conv((3, 4), 5)),
    "conv-tiny": ((1, 3, 3), "conv-tiny"),
}
LATENT_DIM = 3


def legal(likelihood, x):
    """Numbers of [0, 1], turned into data that a likelihood of the table has a density for."""
    if likelihood in BINARY:
        x = x.round()
    if likelihood in COUNTS:
        x = (7 * x).floor()
    if likelihood in CODES:
        x = (4 * x).floor().clamp(max=3)
    if likelihood in OPEN:
        x = 0.05 + 0.9 * x
    if likelihood == "censored-gaussian":
        x = x.clamp(0.25, 0.75)
    if likelihood == "columns":
        levels, names = (4 * x[:, 1]).floor().clamp(max=3), (3 * x[:, 3]).floor().clamp(max=2)
        x = torch.stack([1 + x[:, 0], levels, 0.1 + x[:, 2], names], 1)
        x[0, 3] = float("nan")
    if likelihood in GREY_LEVELS:
        x = (4 * x).round() / 4
    if likelihood.startswith("missing"):
        x = x.clone()
        x[..., 0] = float("nan")
    return x


@dataclass(frozen=True)
class Row:
    """A point on the axes likelihood x posterior x network x prior."""

    likelihood: str
    posterior: str
    network: str
    prior: str = "standard"

    def __str__(self):
        return f"{self.network}-{self.likelihood}-{self.posterior}-{self.prior}"

    @property
    def closed_form_kl(self):
        """Whether the posterior's KL to the prior is known in closed form."""
        if self.prior in CURVED:
            return self.prior != "wrapped-normal"
        return self.prior in ("standard", "diagonal") and self.posterior in GAUSSIAN

    def codes(self, *batch):
        """Codes [*batch, L] in the space of the prior."""
        z = torch.randn(*batch, LATENT_DIM)
        if self.prior == "uniform-sphere":
            return z / z.norm(dim=-1, keepdim=True)
        return z / (2 + z.norm(dim=-1, keepdim=True)) if self.prior == "wrapped-normal" else z

    @property
    def event_shape(self):
        return NETWORKS[self.network][0]

    def vae(self, seed=0):
        event_shape, network = NETWORKS[self.network]
        return pv.VAE(
            event_shape,
            LATENT_DIM,
            network=network,
            likelihood=LIKELIHOODS[self.likelihood],
            posterior=POSTERIORS[self.posterior],
            prior=PRIORS[self.prior],
            seed=seed,
        )

    def data(self, n=4, seed=0):
        """Data [n, *event_shape] that the likelihood of the row has a density for."""
        return legal(
            self.likelihood, torch.rand(n, *self.event_shape, generator=torch.Generator().manual_seed(seed))
        )


# Every value of every axis stands in some row.
ROWS = [
    *(Row(likelihood, "log-variance", "mlp") for likelihood in LIKELIHOODS if likelihood != "columns"),
    Row("columns", "log-variance", "mlp-table"),
    *(Row("gaussian-per-pixel", posterior, "mlp") for posterior in FLAT_POSTERIORS if posterior != "log-variance"),
    Row("bernoulli", "full-covariance", "mlp-vector"),
    Row("continuous-bernoulli", "softplus", "mlp-vector"),
    Row("bernoulli-relaxed", "log-variance", "conv"),
    Row("gaussian-per-pixel", "full-covariance", "conv"),
    Row("gaussian-fixed", "softplus-variance", "conv-tiny"),
    Row("gaussian-learned", "log-scale", "conv-tiny"),
    *(Row("bernoulli", "log-variance", "mlp", prior) for prior in PRIORS if prior not in ("standard", *CURVED)),
    *(Row("bernoulli", posterior, "mlp", prior) for prior, of in CURVED.items() for posterior in of),
    Row("gaussian-fixed", "low-rank", "conv", "vamp"),
    Row("bernoulli", "iaf", "mlp", "flow"),
    Row("bernoulli", "mixture", "mlp", "vamp"),
    Row("missing-bernoulli", "semi-amortised", "mlp", "vamp"),
    Row("gaussian-optimal", "semi-amortised", "conv"),
]


class ConvPair:
    """Networks of the user's own that know one leading batch dimension only, as Conv2d and Unflatten do."""

    event_shape = (1, 4, 4)

    @staticmethod
    def make(num_parameters=1, latent_dim=2):
        encoder = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ELU(), nn.Flatten(), nn.Linear(48, 7), nn.ELU())
        decoder = nn.Sequential(
            nn.Linear(latent_dim, 12),
            nn.ELU(),
            nn.Unflatten(1, (3, 2, 2)),
            nn.ConvTranspose2d(3, num_parameters, 2, stride=2),
        )
        return encoder, decoder
