"""The step by the kernel alone is torch's own, bit for bit, whatever happens to the optimiser meanwhile."""

import copy

import pytest
import torch

from ppl_vae.inference.training.fused_adam import FusedAdam

SHAPES = [(8, 4), (8,), (3, 8), ()]


def leaves(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in SHAPES]


def feed(leaves, step, without=()):
    generator = torch.Generator().manual_seed(100 + step)
    for index, leaf in enumerate(leaves):
        gradient = torch.randn(leaf.shape, generator=generator)
        leaf.grad = None if index in without else gradient


def adam(leaves, **options):
    return torch.optim.Adam(leaves, lr=1e-2, fused=True, **options)


def both(change=lambda optimizer, own, step: None, make=adam, steps=8, without=lambda step: ()):
    """The weights after the same steps by torch and by the kernel."""
    ends = []
    for direct in (False, True):
        own = leaves()
        optimizer = make(own)
        take = FusedAdam(optimizer).step if direct else optimizer.step
        for step in range(steps):
            feed(own, step, without(step))
            change(optimizer, own, step)
            take()
        ends.append([*own, *(value for leaf in own for value in optimizer.state[leaf].values())])
    return ends


def assert_same(ends):
    ours, torchs = ends
    assert len(ours) == len(torchs)
    for a, b in zip(ours, torchs, strict=True):
        assert torch.equal(a.detach(), b.detach())


@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.1}, {"betas": (0.5, 0.9), "eps": 1e-3}, {"amsgrad": True}]
)
def test_weights_and_state_are_torchs(options):
    assert_same(both(make=lambda own: adam(own, **options)))


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop])
def test_other_optimisers_take_their_own_steps(kind):
    assert_same(both(make=lambda own: kind(own, lr=1e-2)))


def test_a_schedule_a_missing_gradient_and_a_later_leaf():
    def change(optimizer, own, step):
        optimizer.param_groups[0]["lr"] = 1e-2 / (1 + step)
        if step == 3:
            own.append(torch.ones(2, requires_grad=True))
            optimizer.add_param_group({"params": [own[-1]]})
        if step >= 3:
            own[-1].grad = torch.full((2,), float(step))

    assert_same(both(change, without=lambda step: {0: (1,), 1: (1, 2), 5: (0, 1, 2, 3)}.get(step, ())))


def test_another_state_that_is_loaded_is_used():
    def change(optimizer, own, step):
        if step == 4:
            state = copy.deepcopy(optimizer.state_dict())
            for each in state["state"].values():
                each["exp_avg"].fill_(0.5)
            optimizer.load_state_dict(state)

    assert_same(both(change))


def test_hooks_are_called():
    own = leaves()
    optimizer, calls = adam(own), []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    taken = FusedAdam(optimizer)
    for step in range(3):
        feed(own, step)
        taken.step()
    assert len(calls) == 3


def test_torchs_own_python_is_left_out():
    """After the first step, which makes the state, torch's step is not called any more."""
    own = leaves()
    optimizer = adam(own)
    taken = FusedAdam(optimizer)
    feed(own, 0)
    taken.step()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", None)
        feed(own, 1)
        taken.step()
    assert {float(optimizer.state[leaf]["step"]) for leaf in own} == {2.0}
