"""Captured steps are the eager ones: the same draws and numbers, whatever the estimator or the objective is."""

import functools

import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.data import Dataset, Split
from ppl_vae.inference.compilation import inductor, step_choice, step_graph
from ppl_vae.inference.compilation.adam import captured_adam
from ppl_vae.inference.compilation.step_choice import Choice, choose
from ppl_vae.inference.compilation.steppers import TracedStepper, clipped, undone
from ppl_vae.inference.objectives import schedules
from ppl_vae.inference.pair.pair import as_pair
from ppl_vae.inference.training.pieces import Pieces
from ppl_vae.inference.training.steps import Stepper
from ppl_vae.inference.training.training_data import training_data
from ppl_vae.inference.training.weights import collect_weights
from ppl_vae.registration import unregistered
from tests.inference.small_runs import BATCH, require_same, small_data, small_dataset, small_vae, train
from tests.recipes.given import given

needs_compiler = pytest.mark.skipif(
    inductor.missing_compiler() is not None, reason="Inductor has no C++ compiler here"
)


#: Everything that moves or draws inside a step: binarisation, both kinds of schedule, clipping.
MOVING = {
    "schedule": schedules.linear(6, 1.0, 0.2),
    "max_grad_norm": 0.5,
}


def moving(compile, **options):
    vae = small_vae(likelihood="bernoulli")
    elbo = inf.Annealed("analytic-kl", schedules.linear(4))
    return train(vae, small_dataset("dynamic"), elbo=elbo, compile=compile, **{**MOVING, **options})


def stepper(pair, data, elbo, **options):
    """The eager step of a pair, its data and its buffers."""
    objective = inf.get_elbo(elbo) if isinstance(elbo, str) else elbo
    found = training_data(data, None, None, 0, Pieces.of(as_pair(pair)))
    weights = collect_weights(pair.model, pair.guide, objective, *found.example(BATCH))
    parameters = weights.parameters()
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    eager = Stepper(pair.model, pair.guide, objective, parameters, optimizer, [1e-2], **options)
    return eager, found, weights.buffers()


def require_traced_as_eager(pair, data, elbo):
    """Loss, terms and every gradient, bit for bit, at two steps and on two batches."""
    with unregistered(), pyro.validation_enabled(False):
        eager, found, buffers = stepper(pair, data, elbo)
        traced = TracedStepper(eager, buffers)
        for step, (_, batch) in enumerate(zip(range(2), found.epoch(1, BATCH, 0), strict=False)):
            now, given = torch.tensor(step), []
            for way in (eager.gradients, traced.replay_for(batch)):
                with undone([*eager.parameters, *buffers]):
                    given.append([*way(batch, now), *(buffer.clone() for buffer in buffers)])
            for expected, got in zip(*given, strict=True):
                assert (expected is None) == (got is None)
                assert expected is None or torch.equal(expected, got)


# Inductor ends in a KeyError of its own (torch 2.13): it fuses a sum over the groups with their step of Adam.
UNTRANSLATED = ("hierarchical-groups-vae",)
# Takes the data of each combination of sources by a mask of what is given: no graph of one shape.
UNTRACED = ("jnf",)
EVENT_SHAPES = {"tiny-conv-vae": (1, 3, 3), "ada-gvae": (2, 1, 8, 8)}
# The other two need discrete sites.
CONTINUOUS = [name for name in inf.list_estimators() if name not in ("enumeration", "gumbel-softmax")]


@pytest.mark.parametrize("name", CONTINUOUS)
def test_every_estimator_is_traced_as_it_is(name):
    require_traced_as_eager(small_vae(), small_data(), name)


OBJECTIVES = {
    "beta": lambda: inf.Beta("analytic-kl", 4.0),
    "annealed": lambda: inf.Annealed("analytic-kl", schedules.cyclical(10)),
    "capacity": lambda: inf.Capacity("analytic-kl", 10.0, schedules.linear(10, 0.0, 5.0)),
    "free bits": lambda: inf.FreeBits("analytic-kl", 0.1),
    "reconstruction": lambda: inf.ReconstructionError("analytic-kl", 10.0),
    "total correlation": lambda: inf.TotalCorrelation("monte-carlo-kl", num_data=50),
    "mmd": lambda: inf.MMD("analytic-kl"),
    "dip": lambda: inf.DIP("analytic-kl", "ii"),
    "running baseline": lambda: inf.ScoreFunction(4, baseline="running"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_is_traced_as_it_is(name):
    require_traced_as_eager(small_vae(), small_data(), OBJECTIVES[name]())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in pv.list_recipes() if name not in UNTRACED])
def test_every_recipe_is_traced_as_it_is(name):
    shape = EVENT_SHAPES.get(name, (1, 8, 8))
    options = {"num_data": 64} if name == "beta-tc-vae" else {}
    x = torch.rand(64, *shape, generator=torch.Generator().manual_seed(0))
    recipe = pv.make(name, event_shape=shape, data=x.round(), **options)
    require_traced_as_eager(recipe.vae, given(recipe.vae, x.round()), recipe.elbo)


def require_same_held_out(run):
    """The plain test ELBO after compiled and after eager steps: the draws are the same, the rounding is not."""
    found = {}
    for compile in (True, False):
        result = run(compile)
        found[result.manifest["compile"]] = result.history.iloc[-1].filter(regex="test_(elbo|log_likelihood)")
    assert set(found) == {"compiled", "eager"}
    error = (found["compiled"] - found["eager"]).abs().max()
    assert error < 1e-3 * (1.0 + found["eager"].abs().max())


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", [name for name in pv.list_recipes() if name not in UNTRANSLATED + UNTRACED])
def test_every_recipe_reaches_the_same_held_out_elbo_compiled(name):
    x = torch.rand(192, *EVENT_SHAPES.get(name, (1, 8, 8)), generator=torch.manual_seed(0)).round()
    train, test = (
        Split(part, torch.arange(len(part)) % 10, covariates={"source": part.flip(0)})
        for part in x.split([128, 64])
    )
    options = {"num_data": 128} if name == "beta-tc-vae" else {}
    data = Dataset("noise", train, test)

    def run(compile):
        recipe = pv.make(name, x.shape[1:], data=train.x, **options)
        return pv.fit(recipe, data, epochs=2, batch_size=128, compile=compile, progress=False)

    require_same_held_out(run)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", [*CONTINUOUS, *OBJECTIVES])
def test_every_estimator_and_objective_reaches_the_same_held_out_elbo_compiled(name):
    def run(compile):
        elbo = OBJECTIVES[name]() if name in OBJECTIVES else inf.get_elbo(name)
        return train(small_vae(), small_dataset(), elbo=elbo, compile=compile, epochs=2)

    require_same_held_out(run)


@pytest.mark.slow
def test_the_progress_says_how_steps_are_taken_and_why(monkeypatch, capfd):
    monkeypatch.setattr(step_choice, "SECONDS_TO_TRACE", 0.0)
    # As many steps as its schedule takes.
    moving("auto", epochs=2, progress=True)
    assert "steps are traced: 8 steps pay for a trace" in capfd.readouterr().err
    moving(False, epochs=2, progress=True)
    assert "steps are" not in capfd.readouterr().err


def test_a_traced_run_is_the_eager_run_bit_for_bit(monkeypatch):
    monkeypatch.setattr(step_choice, "SECONDS_TO_TRACE", 0.0)
    traced, eager = moving("auto"), moving(False)
    assert (traced.manifest["compile"], eager.manifest["compile"]) == ("traced", "eager")
    require_same(traced, eager)


@needs_compiler
def test_a_compiled_run_is_the_eager_run_to_rounding():
    compiled, eager = moving(True), moving(False)
    assert compiled.manifest["compile"] == "compiled"
    for column in ("loss", "train_elbo", "train_kl", "test_elbo"):
        error = (compiled.history[column] - eager.history[column]).abs().max()
        assert error < 1e-5 * eager.history["loss"].abs().max(), column
    torch.testing.assert_close(compiled.model.state_dict(), eager.model.state_dict(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@needs_compiler
def test_a_compiled_run_repeats_and_resumes_bit_for_bit(tmp_path):
    whole = moving(True, epochs=4)
    require_same(whole, moving(True, epochs=4))
    moving(True, epochs=2, out_dir=tmp_path)
    resumed = moving("auto", epochs=4, out_dir=tmp_path, resume=True)
    assert resumed.manifest["compile"] == "compiled"
    require_same(whole, resumed)


@needs_compiler
@pytest.mark.slow
def test_another_seed_gives_other_draws_from_the_same_code():
    first, second = moving(True), moving(True, seed=1)
    assert (first.history["loss"] != second.history["loss"]).all()


@pytest.mark.slow
@needs_compiler
def test_a_second_fit_of_the_same_shapes_compiles_nothing(monkeypatch):
    moving(True, epochs=1)

    def refuse(*_):
        raise AssertionError("compiled anew")

    monkeypatch.setattr(inductor, "_compile", refuse)
    assert moving(True, epochs=1, lr=3e-3).manifest["compile"] == "compiled"


def test_the_moments_of_a_captured_adam_are_those_of_torch():
    generator = torch.Generator().manual_seed(0)
    for make in (
        functools.partial(torch.optim.Adam, eps=1e-4, betas=(0.5, 0.9)),
        functools.partial(torch.optim.Adam, weight_decay=0.1),
        functools.partial(torch.optim.AdamW, weight_decay=0.1),
    ):
        start = torch.randn(5, generator=generator, dtype=torch.float64)
        ours, theirs = (start.clone().requires_grad_() for _ in range(2))
        adam, stock = captured_adam(make([ours], lr=0.1), [ours]), make([theirs], lr=0.1)
        state = adam.state()
        for _ in range(4):
            theirs.grad = torch.randn(5, generator=generator, dtype=torch.float64)
            stock.step()
            adam.update([theirs.grad], state, adam.rates([1.0], [0.1])[0])
            adam.advance(1)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        for name in ("exp_avg", "exp_avg_sq", "step"):
            torch.testing.assert_close(adam.optimizer.state[ours][name], stock.state[theirs][name])


def test_moments_of_a_weight_whose_gradient_stays_away_become_zero():
    """A first moment that shrinks by .9 would end among the subnormal numbers, which are slow to compute with."""
    ours, theirs = (torch.ones(3, requires_grad=True) for _ in range(2))
    adam, stock = captured_adam(torch.optim.Adam([ours]), [ours]), torch.optim.Adam([theirs])
    mean, square = adam.state()
    rates = adam.rates([1.0] * 1000, [1e-3]).float()
    for step in range(1000):
        theirs.grad = torch.tensor([1.0, 1e-3, 0.0]) if step == 0 else torch.zeros(3)
        adam.update([theirs.grad], [mean, square], rates[step])
        stock.step()
    assert mean[0] != 0
    adam.drop_subnormal()
    assert stock.state[theirs]["exp_avg"][0] != 0
    assert (mean == 0).all()
    assert (square > 0).tolist() == [True, True, False]
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("eps", "dropped"), [(1e-8, True), (1e-20, False)])
def test_moments_are_dropped_only_where_eps_hides_them(eps, dropped):
    leaf = torch.ones(1, requires_grad=True)
    adam = captured_adam(torch.optim.Adam([leaf], eps=eps), [leaf])
    mean, square = adam.state()
    adam.update([torch.full_like(leaf, 1e-20)], [mean, square], adam.rates([1.0], [1e-3]).float()[0])
    adam.drop_subnormal()
    assert mean > 0
    assert (square == 0) == dropped
    assert (leaf == 1) == dropped


@pytest.mark.parametrize(
    "make",
    [
        functools.partial(torch.optim.SGD, lr=0.1),
        functools.partial(torch.optim.Adam, amsgrad=True),
        functools.partial(torch.optim.Adam, maximize=True),
    ],
)
def test_another_optimiser_is_left_to_torch(make):
    leaf = torch.zeros(2, requires_grad=True)
    assert captured_adam(make([leaf]), [leaf]) is None


@pytest.mark.parametrize("max_norm", [0.1, 100.0])
def test_gradients_are_clipped_as_torch_clips_them(max_norm):
    leaves = [torch.zeros(3, requires_grad=True), torch.zeros(2, 2, requires_grad=True)]
    for leaf in leaves:
        leaf.grad = torch.randn(leaf.shape, generator=torch.Generator().manual_seed(0))
    ours = clipped([leaf.grad.clone() for leaf in leaves], max_norm)
    torch.nn.utils.clip_grad_norm_(leaves, max_norm)
    for leaf, gradient in zip(leaves, ours, strict=True):
        torch.testing.assert_close(leaf.grad, gradient)


@pytest.mark.slow
def test_without_a_compiler_the_steps_are_traced_and_a_warning_says_so(monkeypatch):
    monkeypatch.setattr(step_choice, "missing_compiler", lambda: "no C++ compiler was found")
    with pytest.warns(UserWarning, match="compile=True: the steps are traced, not compiled: no C\\+\\+ compiler"):
        result = train(small_vae(), small_data(), compile=True)
    assert result.manifest["compile"] == "traced"
    require_same(result, train(small_vae(), small_data(), compile=False))


class Deciding(torch.nn.Module):
    """A model that looks at a draw before it goes on, and a guide that does not."""

    def __init__(self):
        super().__init__()
        self.loc = torch.nn.Parameter(torch.zeros(2))
        self.calls = 0

    def guide(self, x):
        with pyro.plate("data", len(x)):
            return pyro.sample("z", dist.Normal(self.loc.expand(len(x), 2), 1.0).to_event(1))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            scale = 2.0 if z.sum() > 0 else 1.0
            pyro.sample("x", dist.Normal(z[:, :1].expand_as(x), scale).to_event(1), obs=x)


class Counting(Deciding):
    """A model that is another one at every call, for reasons that are in no tensor."""

    def model(self, x):
        self.calls += 1
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z[:, :1].expand_as(x), 1.0 + self.calls).to_event(1), obs=x)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "why"), [(Deciding, ""), (Counting, "Counting.calls")])
def test_what_cannot_be_captured_is_trained_eagerly_with_a_warning(kind, why):
    with pytest.warns(UserWarning, match=f"compile=True: the steps are eager, not compiled: .*{why}") as caught:
        result = train(kind(), small_data(), elbo="monte-carlo-kl", compile=True)
    assert len([w for w in caught if "compile=True" in str(w.message)]) == 1
    assert result.manifest["compile"] == "eager"
    assert result.epochs_run == 3


def test_batches_of_the_users_own_are_trained_eagerly():
    batches = list(small_data().split(BATCH))
    with pytest.warns(UserWarning, match="the batches are the user's own"):
        assert train(small_vae(), batches, compile=True).manifest["compile"] == "eager"
    assert train(small_vae(), batches).manifest["compile"] == "eager"


def test_auto_follows_the_rule(monkeypatch):
    monkeypatch.setattr(step_choice, "missing_compiler", lambda: None)
    assert choose("auto", 100, 10**6).mode == "eager"
    assert choose("auto", 10_000, 10**6).mode == "traced"
    assert choose("auto", 100_000, 10**6).mode == "compiled"
    # Larger steps pay sooner.
    assert choose("auto", 30_000, 10**6).mode == "traced"
    assert choose("auto", 30_000, 10**9).mode == "compiled"
    assert choose("auto", None, 10**6).mode == "eager"
    monkeypatch.setattr(step_choice, "missing_compiler", lambda: "none")
    assert choose("auto", 100_000, 10**6).mode == "traced"


@pytest.mark.parametrize("mode", step_choice.MODES)
def test_a_continued_run_keeps_its_mode(mode):
    assert choose(mode, 1, 1) == Choice(mode, "the run that is continued was so")


def test_bf16_is_refused_on_the_cpu():
    with pytest.raises(pv.errors.ModelError, match="precision 'bf16' is for CUDA devices; on cpu"):
        train(small_vae(), small_data(), precision="bf16")
    with pytest.raises(pv.errors.ModelError, match="precision must be 'float32' or 'bf16', got 'fp8'"):
        train(small_vae(), small_data(), precision="fp8")


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", ["iwae", "dreg", "rloo", "vimco", "tvo", "sticking-the-landing"])
def test_compiled_estimators_train_as_eager_ones(name):
    compiled, eager = (train(small_vae(), small_data(), elbo=name, compile=c) for c in (True, False))
    assert compiled.manifest["compile"] == "compiled"
    error = (compiled.history["loss"] - eager.history["loss"]).abs().max()
    assert error < 1e-4 * eager.history["loss"].abs().max()


@needs_compiler
@pytest.mark.slow
def test_a_compiled_gradient_goes_to_an_optimiser_of_the_users_own():
    optimizer = functools.partial(torch.optim.SGD, momentum=0.9)
    compiled, eager = (
        train(small_vae(), small_data(), optimizer=optimizer, lr=1e-3, compile=c) for c in (True, False)
    )
    assert compiled.manifest["compile"] == "compiled"
    torch.testing.assert_close(compiled.model.state_dict(), eager.model.state_dict(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_convolutions_resume_bit_for_bit_in_their_layout(tmp_path):
    x = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def fitted(epochs, **options):
        vae = pv.VAE((1, 8, 8), 2, network="conv", likelihood="bernoulli-relaxed")
        return train(vae, x, epochs=epochs, **options)

    whole = fitted(4)
    kernels = [p for p in whole.model.parameters() if p.dim() == 4 and min(p.shape[:2]) > 1]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    fitted(2, out_dir=tmp_path)
    require_same(whole, fitted(4, out_dir=tmp_path, resume=True))


def test_adam_moves_a_kernel_as_if_it_were_in_any_layout():
    """Fused Adam reads memory in order: weights, gradients and moments must lie alike."""
    x = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    results = []
    for fused in (True, False):
        vae = pv.VAE((1, 8, 8), 2, network="conv", likelihood="bernoulli-relaxed")
        results.append(train(vae, x, epochs=2, optimizer=functools.partial(torch.optim.Adam, fused=fused)).model)
    fused, plain = (model.state_dict() for model in results)
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)


def test_values_that_a_mask_of_themselves_takes_are_no_graph():
    """Their number is another at every step: a graph of one step's would fail at the next, or answer for it."""
    x, weight = torch.tensor([1.0, -1.0, 2.0]), torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"as x\[mask\] does"):
        step_graph.trace(lambda x, weight: (x * weight)[x > 0].sum(), [x], [weight])
    below = torch.ones(3, 3).tril().bool()
    kept = step_graph.trace(lambda x, weight: (x * weight).expand(3, 3)[below].sum(), [x], [weight])
    assert kept(x + 1).item() == pytest.approx(((x + 1).expand(3, 3)[below]).sum().item())
