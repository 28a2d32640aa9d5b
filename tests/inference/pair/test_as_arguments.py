"""Arrays of any library as arguments of the functions that call programs with what they are given."""

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae import inference as inf
from ppl_vae.errors import DataError

X, C = torch.linspace(-1.0, 1.0, 6), torch.arange(6.0)
NAMES = list("abcdef")


def model(x, c, factor=1.0):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z + factor * c, 1.0), obs=x)


def guide(x, c, factor=1.0):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal((x - factor * c) / 2, 0.5**0.5))


def asked(*args, **kwargs):
    """The guide is the posterior: every draw says log p(x|c), x ~ N(c, 2)."""
    ours = inf.trace_terms((model, guide), *args, **kwargs).log_weight[0]
    per_datum = inf.get_elbo("monte-carlo-kl").per_datum(model, guide, *args, **kwargs)
    weighted = inf.Beta("monte-carlo-kl", 1.0).per_datum((model, guide), *args, **kwargs)
    return ours, per_datum, weighted


@pytest.mark.parametrize(
    "given",
    [
        lambda: asked(X, pd.Series(C.numpy())),
        lambda: asked(X.numpy(), C),
        lambda: asked(X.numpy(), C.double().numpy()),
        lambda: asked(pd.Series(X.numpy(), NAMES), pd.Series(C.numpy(), NAMES)),
        lambda: asked(X, c=C.numpy()),
        lambda: asked(X, C, 1.0),
        lambda: asked(X, C, factor=1),
    ],
    ids=["Series", "array", "double", "named", "by name", "and a number", "and a number by name"],
)
def test_they_are_what_tensors_are(given):
    """A Series ended in an error of pandas' about indexing, an array in one of torch's."""
    for found in given():
        assert torch.allclose(found, dist.Normal(C, 2**0.5).log_prob(X))


def test_rows_in_another_order_are_refused():
    with pytest.raises(DataError, match="order"):
        asked(pd.Series(X.numpy(), NAMES), pd.Series(C.numpy(), NAMES[::-1]))


def test_a_covariate_of_another_length_is_refused():
    with pytest.raises(DataError, match="c: expected one for each of 6 data"):
        asked(X, np.zeros(5))
