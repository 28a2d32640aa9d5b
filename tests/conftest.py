import pyro
import pytest
import torch

import ppl_vae as pv
from ppl_vae.inference.compilation import code_cache


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """The tests' tensors are tiny: waking a second thread costs more than it saves, threefold on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _own_cache_of_steps(tmp_path_factory):
    """Compiled steps are kept for this run of the tests alone, and by processes that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPL_VAE_STEPS", str(tmp_path_factory.mktemp("steps")))
        yield


@pytest.fixture(autouse=True)
def _fresh_globals():
    """Every test starts with an empty parameter store, one global random stream, and no step known to be kept."""
    for note in code_cache.folder().glob(f"*{code_cache.NOTE}"):
        note.unlink()
    pyro.clear_param_store()
    torch.manual_seed(0)
    yield
    pyro.clear_param_store()


@pytest.fixture(scope="session")
def four_images():
    """The 3x3 system's data: [4, 1, 3, 3]."""
    return pv.load_dataset("four-small-images").train.x


@pytest.fixture(scope="session")
def tiny_conv_run(four_images):
    """The recipe tiny-conv-vae at seed 0, trained as published: 4000 steps, sigma 0.3."""
    recipe = pv.make("tiny-conv-vae", (1, 3, 3), seed=0)
    return pv.fit(recipe, four_images, seed=0, device="cpu", progress=False)
