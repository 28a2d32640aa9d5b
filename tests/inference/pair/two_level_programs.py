"""Pairs of two levels as users of Pyro write them: rows of the table that the laws go through.

Global sites, group plates, plates inside a datum, and Pyro's autoguides over the global part, alone or beside an
amortised guide. The judge is stock ``pyro.infer.Trace_ELBO``; what couples the data, or has no density, says so.
"""

from functools import partial

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints, transforms
from pyro.infer import autoguide
from pyro.nn import PyroModule, PyroSample

from tests.inference.pair.user_programs import N, Row, X, real, refused

GROUP = torch.arange(N) % 3
#: Values, and the group of each, in one array of data.
GROUPED = torch.stack([X + GROUP, GROUP.float()], -1)
REGRESSION = torch.cat([real(2 * N, 5).view(N, 2), X.unsqueeze(-1)], -1)
FEATURES = real(N * 3, 7).view(N, 3)
SCHOOLS = torch.tensor([[28.0, 15], [8, 10], [-3, 16], [7, 11], [-1, 9], [1, 11], [18, 10], [12, 18]])
DATUM = ("importance", "diagnose")


def couples(site):
    return refused(f"site '{site}' draws the latents of all data at once", "log_evidence")


# One latent per datum under a global mean and scale ------------------------------------------------------------


def population(x):
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    spread = pyro.sample("spread", dist.LogNormal(0.0, 0.5))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(mean, spread))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def encoder(x, plate="data"):
    slope = pyro.param("slope", torch.tensor(0.5))
    with pyro.plate(plate, len(x)):
        pyro.sample("z", dist.Normal(slope * x, 0.7))


def beside(kind, **options):
    """One of Pyro's guides over the global sites, and an amortised one."""

    def make():
        guides = autoguide.AutoGuideList(population)
        guides.append(kind(pyro.poutine.block(population, expose=["mean", "spread"]), **options))
        # The list makes the model's plates itself, and no program may make a plate of one name twice.
        guides.append(partial(encoder, plate="rows"))
        guides(X)
        return population, guides

    return make


def by_hand():
    def ours(x):
        loc = pyro.param("loc", torch.tensor(0.2))
        mean = pyro.sample("mean", dist.Normal(loc, 0.3))
        pyro.sample("spread", dist.LogNormal(0.1 * mean, 0.3))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * x + 0.4 * mean, 0.7))

    return population, ours


def local_first():
    def ours(x):
        encoder(x)
        pyro.sample("mean", dist.Normal(pyro.param("loc", torch.tensor(0.2)), 0.3))
        pyro.sample("spread", dist.LogNormal(0.0, 0.3))

    return population, ours


def transformed_by_hand():
    def ours(x):
        a = pyro.sample("a", dist.Normal(pyro.param("loc", torch.tensor(0.1)), 0.3), infer={"is_auxiliary": True})
        pyro.sample("spread", dist.Delta(a.exp(), log_density=-a))
        pyro.sample("mean", dist.Normal(0.2, 0.3))
        encoder(x)

    return population, ours


def over_everything(kind, model, x, **options):
    def make():
        guide = kind(model, **options)
        guide(x)
        return model, guide

    return make


# Regressions: global sites alone ---------------------------------------------------------------------------------


def regression(x):
    weight = pyro.sample("weight", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.3))
    with pyro.plate("data", len(x)):
        mean = (x[:, :2] * weight).sum(-1)
        pyro.sample("y", dist.Normal(mean, scale), obs=x[:, 2])


class Regression(PyroModule):
    """The same weights by PyroSample, and a constrained parameter."""

    def __init__(self):
        super().__init__()
        self.weight = PyroSample(dist.Normal(torch.zeros(2), 1.0).to_event(1))

    def forward(self, x):
        scale = pyro.param("noise", torch.tensor(0.8), constraint=constraints.positive)
        weight = self.weight
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal((x[:, :2] * weight).sum(-1), scale), obs=x[:, 2])


def by_pyro_sample():
    model = Regression()
    guide = autoguide.AutoDiagonalNormal(model, init_scale=0.3)
    guide(REGRESSION)
    return model, guide


def laplace():
    delta = autoguide.AutoLaplaceApproximation(regression)
    svi = pyro.infer.SVI(regression, delta, pyro.optim.Adam({"lr": 0.05}), pyro.infer.Trace_ELBO())
    for _ in range(50):
        svi.step(REGRESSION)
    return regression, delta.laplace_approximation(REGRESSION)


def flow():
    torch.manual_seed(2)
    return over_everything(
        autoguide.AutoNormalizingFlow, regression, REGRESSION, init_transform_fn=partial(transforms.planar)
    )()


def structured():
    guide = autoguide.AutoStructured(
        regression, conditionals={"weight": "mvn", "scale": "normal"}, dependencies={"scale": {"weight": "linear"}}
    )
    guide(REGRESSION)
    return regression, guide


# Groups, plates inside a datum -----------------------------------------------------------------------------------


def groups(x):
    index = x[:, 1].long()
    spread = pyro.sample("spread", dist.LogNormal(-0.5, 0.3))
    with pyro.plate("groups", 3):
        shift = pyro.sample("shift", dist.Normal(0.0, spread))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(shift[..., index], 1.0))
        pyro.sample("x", dist.Normal(z, 0.8), obs=x[:, 0])


def group_guide(x):
    loc = pyro.param("loc", torch.tensor([0.0, 0.6, 1.2]))
    pyro.sample("spread", dist.LogNormal(-0.4, 0.2))
    with pyro.plate("groups", 3):
        shift = pyro.sample("shift", dist.Normal(loc, 0.4))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.5 * x[:, 0] + 0.4 * shift[..., x[:, 1].long()], 0.6))


def nested(x):
    """Wards within hospitals: a shift of each, the ward's around its hospital's."""
    ward = x[:, 1].long()
    with pyro.plate("hospitals", 2, dim=-2):
        hospital = pyro.sample("hospital", dist.Normal(0.0, 1.0))
        with pyro.plate("wards", 3, dim=-1):
            shift = pyro.sample("shift", dist.Normal(hospital, 0.5))
    # Data stand in no dimension of the hospitals: [..., 2, 3] becomes [..., 1, 6] under particles, else [6].
    flat = shift.reshape(*shift.shape[:-2], 1, 6) if shift.dim() > 2 else shift.reshape(6)
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(flat[..., ward + 3 * (torch.arange(len(x)) % 2)], 1.0))
        pyro.sample("x", dist.Normal(z, 0.8), obs=x[:, 0])


def nested_guide(x):
    with pyro.plate("hospitals", 2, dim=-2):
        loc = pyro.param("loc", torch.tensor([[0.2], [-0.3]]))
        pyro.sample("hospital", dist.Normal(loc, 0.5))
        with pyro.plate("wards", 3, dim=-1):
            pyro.sample("shift", dist.Normal(0.3 * loc, 0.4))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(0.5 * x[:, 0], 0.6))


def mixture_of_groups(x):
    """Groups that are not known: which one a datum is of is a local site, where the groups lie a global one."""
    with pyro.plate("groups", 2):
        centre = pyro.sample("centre", dist.Normal(torch.tensor([-1.0, 1.0]), 0.7))
    with pyro.plate("data", len(x)):
        which = pyro.sample("which", dist.Bernoulli(0.4))
        low, high = centre[..., :1], centre[..., 1:]
        pyro.sample("x", dist.Normal(low + (high - low) * which, 0.9), obs=x)


def mixture_of_groups_guide(x):
    with pyro.plate("groups", 2):
        pyro.sample("centre", dist.Normal(pyro.param("loc", torch.tensor([-0.8, 0.9])), 0.3))
    with pyro.plate("data", len(x)):
        pyro.sample("which", dist.Bernoulli(logits=pyro.param("slope", torch.tensor(1.2)) * x))


def some_of_the_groups():
    """A plate of features that takes two of three at a time: its own factor makes the sum unbiased."""

    def theirs(x):
        with pyro.plate("features", 3, subsample_size=2):
            pyro.sample("loading", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def ours(x):
        loc = pyro.param("loc", torch.tensor([0.3, -0.2, 0.8]))
        with pyro.plate("features", 3, subsample_size=2) as chosen:
            pyro.sample("loading", dist.Normal(loc[chosen], 0.5))
        encoder(x)

    return theirs, ours


def features(x):
    each = pyro.plate("features", 3, dim=-1)
    with each:
        loading = pyro.sample("loading", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x), dim=-2):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with each:
            pyro.sample("x", dist.Normal(loading * z, 1.0), obs=x)


def feature_guide(x):
    with pyro.plate("features", 3, dim=-1):
        pyro.sample("loading", dist.Normal(pyro.param("loc", torch.tensor([0.4, -0.1, 0.6])), 0.3))
    with pyro.plate("data", len(x), dim=-2):
        pyro.sample("z", dist.Normal(0.3 * x.sum(-1, keepdim=True), 0.8))


def steps_of_time(x):
    drift = pyro.sample("drift", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("time", 3, dim=-2):
            noise = pyro.sample("noise", dist.Normal(z, 0.5))
            pyro.sample("x", dist.Normal(noise + drift, 1.0), obs=x.mT)


def time_guide(x):
    drift = pyro.sample("drift", dist.Normal(pyro.param("loc", torch.tensor(0.1)), 0.3))
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.5 * x.mean(-1), 0.6))
        with pyro.plate("time", 3, dim=-2):
            pyro.sample("noise", dist.Normal(z + 0.3 * (x.mT - drift), 0.5))


def two_observations(x):
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.2))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("first", dist.Normal(z, scale), obs=x)
        with pyro.poutine.mask(mask=x > 0):
            pyro.sample("second", dist.Bernoulli(logits=z), obs=(x > 0.5).float())


def two_observations_guide(x):
    pyro.sample("scale", dist.LogNormal(pyro.param("loc", torch.tensor(0.0)), 0.2))
    encoder(x)


def schools(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("J", len(x)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, x[:, 1]), obs=x[:, 0])


def schools_not_centred(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("J", len(x)):
        eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * eta, x[:, 1]), obs=x[:, 0])


def extra_factor():
    """A penalty on a global site, outside of all plates: what is observed there belongs to the set."""

    def theirs(x):
        mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
        pyro.factor("penalty", -((mean - 1.0) ** 2))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mean, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def ours(x):
        pyro.sample("mean", dist.Normal(pyro.param("loc", torch.tensor(0.2)), 0.3))
        encoder(x)

    return theirs, ours


def stands_elsewhere():
    def ours(x):
        pyro.sample("mean", dist.Normal(pyro.param("loc", torch.tensor(0.2)), 0.3))
        pyro.sample("spread", dist.LogNormal(0.0, 0.3))
        pyro.sample("z", dist.Normal(0.5 * x, 0.7).to_event(1))

    return population, ours


def scaled_on_one_side():
    def ours(x):
        with pyro.poutine.scale(scale=0.5):
            pyro.sample("mean", dist.Normal(pyro.param("loc", torch.tensor(0.2)), 0.3))
        pyro.sample("spread", dist.LogNormal(0.0, 0.3))
        encoder(x)

    return population, ours


MAP = "the guide is a point mass.*MAP estimate|of the point|has one value only"
LATENT = "_{}_latent".format

TWO_LEVELS = {
    "global first": Row(by_hand, X),
    "local first": Row(local_first, X),
    "global Delta with a log density": Row(transformed_by_hand, X),
    "AutoNormal beside an encoder": Row(beside(autoguide.AutoNormal, init_scale=0.3), X),
    "AutoDiagonalNormal beside an encoder": Row(beside(autoguide.AutoDiagonalNormal, init_scale=0.3), X),
    # What log_evidence tells is log p(x | the point), which is right.
    "AutoDelta beside an encoder": Row(
        beside(autoguide.AutoDelta),
        X,
        refused=refused(f"site 'mean'.*({MAP})|global", "evaluate", "fit", "compare", *DATUM),
    ),
    "AutoMultivariateNormal, everything": Row(
        over_everything(autoguide.AutoMultivariateNormal, population, X, init_scale=0.3),
        X,
        refused=couples(LATENT("AutoMultivariateNormal")),
    ),
    "AutoMultivariateNormal": Row(
        over_everything(autoguide.AutoMultivariateNormal, regression, REGRESSION, init_scale=0.2), REGRESSION
    ),
    "AutoLowRankMultivariateNormal": Row(
        over_everything(autoguide.AutoLowRankMultivariateNormal, regression, REGRESSION, init_scale=0.2, rank=1),
        REGRESSION,
    ),
    "AutoIAFNormal": Row(
        over_everything(autoguide.AutoIAFNormal, regression, REGRESSION, hidden_dim=[8]), REGRESSION
    ),
    "AutoNormalizingFlow": Row(flow, REGRESSION),
    "AutoLaplaceApproximation": Row(laplace, REGRESSION, refused=refused("nothing to train", "compare", "fit")),
    "AutoStructured": Row(structured, REGRESSION),
    "PyroSample": Row(by_pyro_sample, REGRESSION),
    "groups": Row(lambda: (groups, group_guide), GROUPED),
    "AutoNormal over groups": Row(over_everything(autoguide.AutoNormal, groups, GROUPED, init_scale=0.3), GROUPED),
    "nested plates": Row(lambda: (nested, nested_guide), GROUPED, nesting=2),
    "a mixture of groups": Row(lambda: (mixture_of_groups, mixture_of_groups_guide), X, estimator="score-function"),
    "some of the groups": Row(some_of_the_groups, X, refused=refused("site 'loading' stands in", *DATUM)),
    "data plate at -2": Row(lambda: (features, feature_guide), FEATURES, nesting=2),
    "time inside a datum": Row(lambda: (steps_of_time, time_guide), FEATURES, nesting=2),
    "two observations": Row(lambda: (two_observations, two_observations_guide), X),
    "eight schools": Row(over_everything(autoguide.AutoNormal, schools, SCHOOLS, init_scale=0.3), SCHOOLS),
    "eight schools, not centred": Row(
        over_everything(autoguide.AutoMultivariateNormal, schools_not_centred, SCHOOLS, init_scale=0.3),
        SCHOOLS,
        refused=couples(LATENT("AutoMultivariateNormal")),
    ),
    "a factor of the set": Row(extra_factor, X),
    "in another plate in the guide": Row(
        stands_elsewhere, X, refused=refused("site 'z' stands in no plate in the guide and in 'data'")
    ),
    "global site scaled on one side": Row(
        scaled_on_one_side, X, refused=refused("site 'mean' is scaled by 0.5 in the guide but by 1.0")
    ),
}
