"""What encode and decode say becomes an array; gradients are recorded where they are asked for."""

import pytest
import torch

import ppl_vae as pv
from tests.models.program_table import PROGRAMS, data
from tests.models.table import LATENT_DIM, ROWS

every_row = pytest.mark.parametrize("row", ROWS, ids=str)


@every_row
def test_codes_and_means_become_arrays(row):
    vae, x = row.vae().eval(), row.data(4)
    vae.decode(torch.zeros(4, LATENT_DIM)).mean.numpy()
    q = vae.encode(x)
    try:
        mean = q.mean
    except NotImplementedError:
        mean = q.sample()
    mean.numpy()


@every_row
def test_gradients_are_there_for_those_who_ask(row):
    vae, x = row.vae().eval(), row.data(4)
    z = torch.zeros(4, LATENT_DIM, requires_grad=True)
    (slope,) = torch.autograd.grad(vae.decode(z).mean.sum(), z)
    assert slope.shape == z.shape
    if x.is_floating_point():
        seen = x.clone().requires_grad_()
        drawn = vae.encode(seen).rsample() if vae.encode(x).has_rsample else None
        if drawn is not None:
            assert torch.autograd.grad(drawn.sum(), seen, allow_unused=True)[0] is not None
    vae.model.decode(torch.zeros(4, LATENT_DIM)).mean.sum().backward()
    assert any(p.grad is not None for p in vae.model.parameters())


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_every_program_encodes_without_a_history(program):
    pair, x = program.pair().eval(), data()
    q = pair.encode(x, *program.labels(x))
    assert not q.sample().requires_grad
    assert not q.log_prob(q.sample()).requires_grad


def test_a_loop_of_ones_own_trains_in_training_mode_and_is_told_in_the_other():
    row = ROWS[0]
    vae = row.vae()
    vae.encode(row.data(4)).mean.sum().backward()
    assert any(p.grad is not None for p in vae.guide.parameters())
    with pytest.raises(RuntimeError, match="does not require grad"):
        vae.eval().encode(row.data(4)).mean.sum().backward()


def test_fit_and_load_leave_a_model_whose_codes_become_arrays(tmp_path):
    row = ROWS[0]
    vae, x = row.vae(), row.data(4)
    pv.fit(vae, x, epochs=1, progress=False, device="cpu")
    vae.save(tmp_path / "vae")
    assert (vae.encode(x).mean.numpy() == pv.load(tmp_path / "vae").encode(x).mean.numpy()).all()
