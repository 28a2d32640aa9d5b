"""A folded recording gives the same numbers by fewer operations, and leaves alone what it may not touch."""

import torch

from ppl_vae.folded import folded
from ppl_vae.recording import record
from ppl_vae.replayed import one_result, recorded_or_run, replayed

WEIGHT, OTHER = (torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))


def operations(recording):
    return [str(node.target) for node in recording.program.graph.nodes if node.op == "call_function"]


def bound(u):
    leaf = u.detach().requires_grad_()
    with torch.enable_grad():
        value = ((leaf @ WEIGHT.mT.detach().mT).view(-1, 4).pow(2) * OTHER.exp().log().sum(0)).sum()
        (slope,) = torch.autograd.grad(value, leaf)
    return value.detach(), slope


def test_the_numbers_are_those_of_the_recording_to_the_last_bit_at_other_points():
    whole = record(bound, torch.randn(5, 3))
    fewer = folded(whole, torch.randn(5, 3))
    for seed in range(3):
        u = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
        for ours, theirs, own in zip(fewer(u), whole(u), bound(u), strict=True):
            assert torch.equal(ours, theirs)
            assert torch.equal(ours, own)


def test_what_is_made_of_constants_alone_and_what_stands_twice_is_left_out():
    def twice(u):
        return (u @ WEIGHT).exp() + (u @ WEIGHT).exp() * OTHER.exp().sum()

    done = operations(replayed(twice, torch.randn(5, 3)))
    assert done.count("aten.mm.default") == 1
    assert done.count("aten.exp.default") == 1
    assert not any("sum" in each for each in done)


def test_one_result_is_made_without_what_the_others_need():
    def both(u):
        return torch.nn.functional.softplus(u @ WEIGHT).sum(-1), (u @ WEIGHT).sigmoid() @ WEIGHT.mT

    u = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    whole = replayed(both, torch.randn(5, 3))
    slope = one_result(whole, 1)
    assert torch.equal(slope(u), whole(u)[1])
    assert not any("softplus" in each for each in operations(slope))
    assert any("softplus" in each for each in operations(whole))
    assert torch.equal(one_result(both, 1)(u), both(u)[1])


def test_a_constant_that_is_given_back_is_new_at_every_call():
    replay = replayed(lambda u: (u + 1, WEIGHT * 2), torch.zeros(2))
    replay(torch.zeros(2))[1].zero_()
    assert torch.equal(replay(torch.zeros(2))[1], WEIGHT * 2)


def test_random_numbers_are_drawn_anew_in_their_order():
    def noisy(u):
        return u + torch.empty(4).normal_(), torch.rand(4)

    replay = replayed(noisy, torch.zeros(4))
    torch.manual_seed(3)
    ours = [*replay(torch.ones(4)), *replay(torch.ones(4))]
    torch.manual_seed(3)
    theirs = [*noisy(torch.ones(4)), *noisy(torch.ones(4))]
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not torch.equal(ours[0], ours[2])


def test_what_changes_its_input_in_place_is_not_folded():
    def grows(u):
        return (u + WEIGHT[0, 0].exp(), u.add_(1.0))

    whole = record(grows, torch.zeros(3))
    assert folded(whole, torch.zeros(3)) is whole


def test_a_function_that_looks_at_values_runs_as_it_is():
    def looks(u):
        return (u.abs(),) if u.sum().item() > 0 else (u,)

    assert recorded_or_run(looks, [torch.ones(2)], [torch.ones(2)]) is looks
