"""Optimisers of the user's own: taken, or refused in one line with the way out; never half obeyed."""

import functools

import pyro
import pytest
import torch
from pyro.optim.clipped_adam import ClippedAdam

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.training.settings import Settings
from tests.inference.small_runs import require_same, small_data, small_vae, train


def test_pyros_adam_is_torchs_adam():
    """One optimiser over all parameters takes the steps of one for each, as Adam is element-wise."""
    ours = train(small_vae(), small_data(), optimizer=torch.optim.Adam, lr=3e-3)
    theirs = train(small_vae(), small_data(), optimizer=pyro.optim.Adam({"lr": 3e-3}))
    require_same(ours, theirs)
    assert theirs.manifest["settings"]["optimizer"] == "pyro.optim Adam({'lr': 0.003})"
    assert theirs.manifest["learning_rates"] == [3e-3]


def test_pyros_wrapper_without_a_rate_takes_the_runs():
    theirs = train(small_vae(), small_data(), optimizer=pyro.optim.Adam({}), lr=3e-3)
    require_same(train(small_vae(), small_data(), optimizer=torch.optim.Adam, lr=3e-3), theirs)


def test_clipped_adam_keeps_its_decay():
    leaf = torch.nn.Parameter(torch.ones(2))
    made = Settings(optimizer=pyro.optim.ClippedAdam({"lr": 0.1, "lrd": 0.5})).make_optimizer([leaf])
    assert isinstance(made, ClippedAdam)
    leaf.grad = torch.ones(2)
    made.step()
    assert made.param_groups[0]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": torch.optim.LBFGS}, "LBFGS evaluates the loss several times a step"),
        ({"optimizer": torch.optim.SparseAdam}, "SparseAdam needs sparse gradients"),
        ({"optimizer": pyro.optim.Adam}, r"pyro.optim.Adam must be called, as pyro.optim.Adam\("),
        ({"optimizer": pyro.optim.Adam({"lr": 0.1}, {"clip_norm": 1.0})}, "clip_args.*max_grad_norm"),
        ({"optimizer": pyro.optim.Adam(lambda name: {"lr": 0.1})}, "arguments of each parameter"),
        (
            {
                "optimizer": pyro.optim.ExponentialLR(
                    {"optimizer": torch.optim.SGD, "optim_args": {"lr": 0.1}, "gamma": 0.9}
                )
            },
            "a Pyro scheduler.*schedule=",
        ),
        ({"optimizer": torch.optim.SGD([torch.zeros(1)])}, "got an SGD that exists already.*torch.optim.AdamW"),
        ({"optimizer": "adamv"}, "unknown optimizer 'adamv'.*give a class such as torch.optim.AdamW"),
        ({"optimizer": functools.partial(torch.optim.Adam, momentum=0.9)}, "cannot be made .*momentum"),
        ({"optimizer": lambda p: torch.optim.SGD([torch.zeros(1)])}, "holds none of the pair's parameters"),
        (
            {"optimizer": pyro.optim.ClippedAdam({"lr": 0.1, "lrd": 0.9}), "schedule": inf.schedules.cosine(9)},
            "lrd",
        ),
        ({"optimizer": lambda p: torch.optim.SGD(p), "lr": 0.1}, r"lr=0\.1 would be ignored"),
        ({"optimizer": pyro.optim.Adam({"lr": 0.1}), "lr": 0.1}, r"lr=0\.1 would be ignored"),
        (
            {"schedule": "cosin"},
            r"unknown schedule 'cosin'; did you mean 'cosine'",
        ),
        ({"schedule": torch.optim.lr_scheduler.CosineAnnealingLR}, "schedule must be a callable on the optimiser"),
        ({"schedule": lambda step: 1 / step}, "schedule must be finite and at least 0, but is inf at step 0"),
        ({"schedule": lambda: 1.0}, "schedule gives no number at step 0"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_in_one_line(options, message, tmp_path):
    with pytest.raises(ModelError, match=message) as caught:
        train(small_vae(), small_data(), out_dir=tmp_path / "run", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_parameters_that_the_optimiser_leaves_out_are_told():
    with pytest.warns(UserWarning, match=r"optimizer holds 2 of \d+ parameters; the others never train"):
        train(small_vae(), small_data(), optimizer=lambda p: torch.optim.SGD(p[:2], lr=1e-3), epochs=1)


def test_an_objectives_options_reach_a_class_that_knows_them():
    objective = inf.DensityRatio("analytic-kl", hidden=(4,), discriminator_lr=0.5)
    vae = small_vae()
    objective.run(vae.model, vae.guide, small_data())
    parameters = [*vae.parameters(), *objective.parameters()]
    made = Settings(elbo=objective, optimizer=torch.optim.AdamW, lr=1e-3).make_optimizer(parameters)
    assert [(g["lr"], g["betas"]) for g in made.param_groups] == [(1e-3, (0.9, 0.999)), (0.5, (0.5, 0.9))]
    with pytest.warns(UserWarning, match="DensityRatio wants betas of its own"):
        made = Settings(elbo=objective, optimizer=torch.optim.SGD, lr=1e-3).make_optimizer(parameters)
    assert [g["lr"] for g in made.param_groups] == [1e-3, 0.5]


def test_a_batch_size_beside_batches_is_refused():
    with pytest.raises(ModelError, match="batch_size=16 would be ignored: the data come in batches"):
        train(small_vae(), list(small_data().split(16)), batch_size=16)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("AdamW", torch.optim.AdamW), ("sgd", torch.optim.SGD), ("adam", None),
     ("rmsprop", torch.optim.RMSprop), ("nadam", torch.optim.NAdam), ("radam", torch.optim.RAdam),
     ("adagrad", torch.optim.Adagrad), ("adamax", torch.optim.Adamax)],
)  # fmt: skip
def test_a_name_is_the_class_of_that_name(name, kind):
    named = train(small_vae(), small_data(), optimizer=name, lr=3e-3, epochs=1)
    require_same(named, train(small_vae(), small_data(), optimizer=kind, lr=3e-3, epochs=1))
    assert named.manifest["settings"]["optimizer"].lower() == name.lower()


def test_another_name_is_refused_with_those_there_are():
    with pytest.raises(ModelError, match="unknown optimizer 'adamv'; did you mean 'adam"):
        train(small_vae(), small_data(), optimizer="adamv")
