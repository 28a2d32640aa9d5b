import pytest
import torch

from tests.inference.small_runs import small_dataset, small_vae, train


@pytest.fixture(scope="session")
def trained():
    """A result of fit on a Dataset, three epochs; nobody trains it further."""
    return train(small_vae(), small_dataset())


@pytest.fixture
def one_thread():
    """Tensors as small as the estimators' are slower with several threads, on a busy machine by far."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
