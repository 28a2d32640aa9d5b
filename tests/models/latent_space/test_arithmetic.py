import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import DataError
from ppl_vae.models.latent_space.arithmetic import attribute_vector, decode_along


def test_the_vector_is_the_difference_of_means():
    codes = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    has = torch.arange(50) % 3 == 0
    expected = codes[has].sum(0) / 17 - codes[~has].sum(0) / 33
    torch.testing.assert_close(attribute_vector(codes, has), expected)


@pytest.mark.parametrize(
    ("has", "message"),
    [
        (torch.ones(4), "expected booleans"),
        (torch.ones(3, dtype=torch.bool), "expected booleans"),
        (torch.ones(4, dtype=torch.bool), "found 4 of 4 with"),
        (torch.zeros(4, dtype=torch.bool), "found 0 of 4 with"),
    ],
)
def test_attributes_that_have_no_direction(has, message):
    with pytest.raises(DataError, match=message):
        attribute_vector(torch.zeros(4, 2), has)


def test_each_step_decodes_its_own_code():
    vae = pv.VAE((1, 4, 4), latent_dim=2, seed=1)
    codes, direction, alphas = torch.randn(3, 2), torch.tensor([1.0, -2.0]), torch.tensor([-1.0, 0.0, 0.5])
    images = decode_along(vae, codes, direction, alphas)
    assert images.shape == (3, 3, 1, 4, 4)
    for n in range(3):
        for k, alpha in enumerate(alphas):
            expected = vae.decode((codes[n] + alpha * direction)[None]).mean[0]
            torch.testing.assert_close(images[n, k], expected)
