import math
import pickle

import pytest
import torch

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.objectives import schedules
from tests.inference.small_runs import STEPS, N, require_same, small_data, small_vae, train

NAMED = ("cosine", "linear", "exponential", "warmup-cosine")


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.linear(10), {0: 0.0, 5: 0.5, 10: 1.0, 50: 1.0}),
        (schedules.linear(4, start=1.0, end=0.2), {0: 1.0, 1: 0.8, 3: 0.4, 4: 0.2, 9: 0.2}),
        (schedules.cosine(8), {0: 1.0, 2: 0.5 + 0.5 / math.sqrt(2), 4: 0.5, 8: 0.0, 99: 0.0}),
        (schedules.cosine(8, end=0.1), {0: 1.0, 4: 0.55, 8: 0.1}),
        (schedules.exponential(0.5, 10), {0: 1.0, 5: 0.5**0.5, 10: 0.5, 20: 0.25}),
    ],
)
def test_values(schedule, expected):
    for step, value in expected.items():
        found = schedule(torch.tensor(step))
        assert isinstance(found, torch.Tensor)
        assert found.dim() == 0
        assert found.item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.linear(10, end=0.3), schedules.cosine(8), schedules.exponential(rate=0.9, steps=3),
        schedules.cyclical(8, 2), schedules.sigmoid(5),
    ],
)  # fmt: skip
def test_they_go_to_another_process(schedule):
    again = pickle.loads(pickle.dumps(schedule))
    assert repr(again) == repr(schedule)
    assert again.steps == schedule.steps
    assert torch.equal(again(torch.arange(12)), schedule(torch.arange(12)))


@pytest.mark.parametrize("schedule", [schedules.linear(10), schedules.cosine(8), schedules.exponential(0.9, 3)])
def test_they_are_arithmetic_on_tensors_of_any_shape(schedule):
    steps = torch.arange(12)
    together = torch.stack([schedule(step) for step in steps])
    torch.testing.assert_close(schedule(steps), together)


class Recording(torch.optim.SGD):
    """SGD that keeps the learning rates of its groups at every step."""

    rates: list

    def step(self, closure=None):
        Recording.rates.append([group["lr"] for group in self.param_groups])
        return super().step(closure)


def recorded(**options):
    Recording.rates = []
    train(small_vae(), small_data(), **{"optimizer": Recording, "lr": 1e-3, "epochs": 2, **options})
    return Recording.rates


def test_the_learning_rate_is_multiplied_at_every_step():
    rates = recorded(schedule=schedules.linear(5, start=1.0, end=0.5))
    expected = [[1e-3 * factor] for factor in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5)]
    assert len(rates) == 2 * STEPS
    for found, rate in zip(rates, expected, strict=True):
        assert found == pytest.approx(rate)


def test_without_a_schedule_it_stays():
    assert recorded() == [[1e-3]] * 2 * STEPS


def test_a_users_own_function_of_the_step_is_a_schedule():
    assert [rate for (rate,) in recorded(schedule=lambda step: 1.0 if step < 3 else 0.1)] == pytest.approx(
        [1e-3] * 3 + [1e-4] * 5
    )


def test_groups_keep_their_own_rates():
    def groups(parameters):
        return Recording([{"params": parameters[:2], "lr": 1e-3}, {"params": parameters[2:], "lr": 1e-4}])

    rates = recorded(optimizer=groups, lr=None, schedule=schedules.exponential(0.5, 1), epochs=1)
    assert rates == [pytest.approx([1e-3 * 0.5**s, 1e-4 * 0.5**s]) for s in range(STEPS)]


def test_a_factor_of_zero_stops_training():
    start = small_vae()
    end = train(small_vae(), small_data(), schedule=lambda step: 0.0).model
    for a, b in zip(start.parameters(), end.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.linear(0), "steps must be positive and finite, got 0"),
        (lambda: schedules.linear(5, end=math.nan), "end must be finite, got nan"),
        (lambda: schedules.cosine(-1), "steps must be positive and finite, got -1"),
        (lambda: schedules.exponential(0.0, 5), "rate must be positive and finite, got 0"),
        (lambda: schedules.cyclical(8, cycles=0), "cycles must be an integer of at least 1, got 0"),
        (lambda: schedules.cyclical(8, ramp=0), "ramp must be positive and finite, got 0"),
        (
            lambda: schedules.cyclical(8, ramp=2.0),
            "ramp must be a share .* at most 1, got 2.0",
        ),
        (lambda: schedules.sigmoid("a"), "steps must be a number, got 'a'"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, message):
    with pytest.raises(ModelError, match=message):
        make()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_a_name_is_a_schedule_as_long_as_the_run(name):
    steps = 3 * -(-N // 16)
    named = train(small_vae(), small_data(), schedule=name, batch_size=16, epochs=3)
    given = schedules.of_run(name, steps)
    twin = train(small_vae(), small_data(), schedule=given, batch_size=16, epochs=3)
    require_same(named, twin)
    assert named.manifest["settings"]["schedule"] == repr(given)
    assert f"steps={steps}" in repr(given)


def test_the_constant_schedule_is_none():
    require_same(train(small_vae(), small_data(), schedule="constant"), train(small_vae(), small_data()))


def test_named_schedules_start_and_end_where_they_say():
    at = {name: [float(schedules.of_run(name, 100)(torch.tensor(k))) for k in (0, 10, 55, 100)] for name in NAMED}
    fall = [0.5 * (1 + math.cos(share * math.pi)) for share in (0.0, 0.1, 0.55, 1.0)]
    assert at["cosine"] == pytest.approx(fall, abs=1e-6)
    assert at["linear"] == pytest.approx([1.0, 0.9, 0.45, 0.0], abs=1e-6)
    assert at["exponential"] == pytest.approx([1.0, 0.01**0.1, 0.01**0.55, 0.01], abs=1e-6)
    assert at["warmup-cosine"] == pytest.approx([0.1, 1.0, 0.5, 0.0], abs=1e-6)


def test_a_name_needs_the_number_of_steps():
    class Stream:
        def __iter__(self):
            return iter(small_data().split(16))

    with pytest.raises(ModelError, match=r"'cosine' is as long as the run.*cosine\(steps\)"):
        train(small_vae(), Stream(), schedule="cosine")
    with pytest.raises(ModelError, match="unknown schedule 'cosin'; did you mean 'cosine'"):
        train(small_vae(), small_data(), schedule="cosin")
    with pytest.raises(ModelError, match="warmup must be a share between 0 and 1"):
        schedules.warmup_cosine(10, 1.0)


def test_a_schedule_in_plain_numbers_weighs_the_kl_as_one_in_tensors_does():
    """It looks at the step, so that no step that was written down would follow it."""
    losses = [
        train(small_vae(), small_data(), elbo=inf.Annealed("analytic-kl", schedule)).history.loss.tolist()
        for schedule in (lambda step: min(1.0, int(step) / 8), schedules.linear(8))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
