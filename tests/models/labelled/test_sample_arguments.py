"""Draws of models with labels: what stands at the place of ``with_noise`` is no label that is left out."""

import numpy as np
import pytest
import torch

from ppl_vae import models
from ppl_vae.errors import ModelError
from ppl_vae.networks import MLP

SMALL = {"network": MLP((4,)), "hidden": (4,)}
MAKES = [
    lambda: models.ConditionalVAE((6,), 1, 3, **SMALL),
    lambda: models.SemiSupervisedVAE((6,), 1, 3, **SMALL),
    lambda: models.GroupsVAE((6,), 1, 3, **SMALL),
    lambda: models.GaussianMixtureVAE((6,), 1, 3, **SMALL),
    lambda: models.CountVAE((6,), 1, network=MLP((4,))),
    lambda: models.BayesianDecoderVAE((6,), 1, hidden=(4,), network=MLP((4,))),
]


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("label", [2, 1, torch.tensor([2]), np.array([2]), "two"])
def test_a_label_in_the_place_of_the_noise_is_refused(make, label):
    with pytest.raises(ModelError, match=r"with_noise must be True or False, got .*by name"):
        make().sample(1, label)


def test_a_truth_of_numpy_is_one():
    vae = MAKES[0]()
    torch.manual_seed(0)
    expected = vae.sample(4, True, y=2)
    torch.manual_seed(0)
    assert torch.equal(vae.sample(4, np.True_, y=2), expected)
    assert set(expected.unique().tolist()) <= {0.0, 1.0}
