"""Objectives, which turn Terms into a loss: the protocol that ``fit`` knows, and a drop-in pyro.infer.ELBO.

An objective is an nn.Module with ``forward(terms, step) -> loss``, minus the mean over the batch in nats per
datum. It may own parameters. Called with a model and a guide it becomes a module whose value is, as in
Pyro, minus the SUM over the data (times N / B under a subsampled plate). An estimator is the objective that
weights nothing: it states a bound per datum.
"""

from __future__ import annotations

import contextlib
import inspect
import weakref
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal, overload

import pyro
import torch
from pyro.infer.elbo import ELBOModule
from pyro.infer.enum import get_importance_trace
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from ppl_vae.containers import Data
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.two_levels import (
    require_all_members,
    require_given_global,
    require_uncoupled,
    set_signal,
)
from ppl_vae.inference.pair.admission import as_arguments, check_data
from ppl_vae.inference.pair.evaluation_mode import evaluation_mode
from ppl_vae.inference.pair.pair import PairLike, called_with
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.separate_draws import require_separate_draws
from ppl_vae.inference.pair.site_shapes import require_data_rows
from ppl_vae.inference.pair.terms import Gradient, Terms
from ppl_vae.inference.pair.trace import owner
from ppl_vae.inference.pair.validity import require_densities
from ppl_vae.inference.pair.wrapping import innermost
from ppl_vae.randomness import seeded
from ppl_vae.registration import unregistered


class Loss(ELBOModule):
    """``objective(model, guide)``: a module whose forward(x) is the loss and whose parameters are the pair's.

    Parameters of a bound method are those of the nn.Module it belongs to.
    """

    def __init__(self, model: Program, guide: Program, elbo: Objective) -> None:
        super().__init__(model, guide, elbo)  # type: ignore[arg-type]  # plain functions work as well
        self.owners = nn.ModuleList(m for m in (owner(model), owner(guide)) if m is not None)


class Objective(pyro.infer.ELBO, nn.Module):
    """An objective: a module that turns Terms into a loss.

    Args:
        num_particles: K draws per datum.
    """

    # How the terms must depend on the guide's parameters; a weighting takes its estimator's.
    gradient: Gradient = "total"
    # Whether a weight on the KL, set in the terms, reaches this objective's loss.
    passes_kl_weight = False
    # The fewest data in a batch that it is defined for.
    least_batch = 1
    # Whether the loss of a batch is the mean of the losses of its data, so that a batch may be taken in parts.
    mean_over_data = False
    # Half a sentence, from its semicolon on, that says when the loss is NaN though the terms are numbers.
    undefined = ""
    # The optimiser's options for the objective's own parameters where they differ from the pair's.
    optimizer_options: Mapping[str, object] = MappingProxyType({})
    # What draws some of the guide's sites in a way of its own, such as enumerating them.
    draw_handler: Messenger | None = None
    # The number of data that a pair's global sites belong to, where the data plate does not say it.
    num_total: int | None = None

    def __init__(self, num_particles: int = 1) -> None:
        nn.Module.__init__(self)
        if not isinstance(num_particles, int) or num_particles < 1:
            raise ModelError(f"num_particles must be an integer of at least 1, got {num_particles!r}")
        pyro.infer.ELBO.__init__(self, num_particles=num_particles)
        self._judged: weakref.WeakSet[object] = weakref.WeakSet()

    @abstractmethod
    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the objective, the mean over the batch: a scalar, nats per datum.

        Args:
            terms: of one batch, traced with this objective's ``num_draws`` and ``gradient``.
            step: the optimiser step from 0, for schedules; None outside training.
        """

    def judge(self, terms: Terms) -> None:
        """Refuse terms that the objective is not defined for, by their values: once, before training.

        Args:
            terms: of the first batch.

        Raises:
            ModelError: the site is named.
        """

    @property
    @abstractmethod
    def estimator(self) -> Estimator:
        """The estimator under the weighting: the plain ELBO that is reported beside the objective."""

    def run(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Terms:
        """The terms that ``forward`` needs, without a look at the values of the data."""
        return run_terms(
            model,
            guide,
            args,
            kwargs,
            self.num_draws,
            self.gradient,
            self.draw_handler,
            as_loss=True,
            share_draws=self.share_draws,
            num_total=self.num_total,
        )

    @property
    def num_draws(self) -> int:
        """The number of draws per datum that ``forward`` needs in its terms."""
        return self.num_particles

    @property
    def share_draws(self) -> int:
        """The number of draws in a row at one draw of the global sites, in a pair that has any."""
        return self.estimator.share_draws

    @contextlib.contextmanager
    def of_a_set(self, num_total: int | None) -> Iterator[None]:
        """Take batches for parts of a set of so many data, to which the global sites belong."""
        before, self.num_total = self.num_total, num_total
        try:
            yield
        finally:
            self.num_total = before

    def __getstate__(self) -> dict[str, object]:
        # Which pairs were judged is no part of what an objective is, and weak references cannot be pickled.
        return {**self.__dict__, "_judged": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        super().__setstate__(state)
        self._judged = weakref.WeakSet()

    def reset(self) -> None:
        """Start anew, as at the beginning of a run: forget what earlier training has left in it."""
        for part in self.children():
            if isinstance(part, Objective):
                part.reset()

    def extra_repr(self) -> str:
        """The options that a manifest states besides the class."""
        return f"num_particles={self.num_particles}"

    def __call__(self, model: Program, guide: Program) -> Loss:
        """Build a module whose forward(x) is the loss of this pair on x."""
        return Loss(model, guide, self)

    def differentiable_loss(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Tensor:
        """Minus the sum over the data: a scalar with gradients. The first batch of a pair is judged by value."""
        if args and self._is_new(model):
            check_data(model, *args, **kwargs)
        terms = self.run(model, guide, *args, **kwargs)
        self._judge_once(model, guide, args, kwargs, terms)
        return self.forward(terms) * (terms.num_data * terms.data_scale)

    def loss(self, model: Program, guide: Program, *args: object, **kwargs: object) -> float:
        """Minus the sum over the data, a number."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Program, guide: Program, *args: object, **kwargs: object) -> float:
        """The loss, with its gradients added to the parameters' ``grad``: what pyro.infer.SVI calls."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return loss.item()

    def _is_new(self, model: Program) -> bool:
        try:
            return _lasting(model) not in self._judged
        except TypeError:
            # Unhashable: it is judged every time.
            return True

    def _judge_once(
        self, model: Program, guide: Program, args: tuple[object, ...], kwargs: Mapping[str, object], terms: Terms
    ) -> None:
        """Refuse what is no density in the first batch of a pair."""
        if self._is_new(model):
            require_densities(model, guide, args, kwargs, terms)
            self.judge(terms)
            if self.num_draws > 1 and not kwargs:
                _require_separate(model, guide, args, terms.log_likelihood.device)
            with contextlib.suppress(TypeError):
                self._judged.add(_lasting(model))

    def _get_trace(self, model: Program, guide: Program, args: object, kwargs: object) -> object:
        # Pyro's base class asks for it; ours works on Terms and never calls it.
        return get_importance_trace("flat", 1, model, guide, args, kwargs)


def _require_separate(model: Program, guide: Program, args: tuple[object, ...], device: torch.device) -> None:
    """Refuse a pair whose density of a draw moves with its other draws, out of training mode."""
    with unregistered(), evaluation_mode(model, guide), seeded(0, device):
        require_separate_draws(model, guide, args, among_data=False)


def _lasting(program: Program) -> object:
    """The lasting object behind a program: a bound method is made anew at every look, its owner is not."""
    program = innermost(program)
    module = owner(program)
    if module is not None:
        return module
    return program.__self__ if inspect.ismethod(program) else program


class Estimator(Objective):
    """An estimator of a bound on log p(x), per datum.

    A subclass states the bound; where the bound's own derivative is not the gradient estimate, it states a
    ``surrogate`` whose derivative is.

    Args:
        num_particles: K draws per datum.
    """

    passes_kl_weight = True
    mean_over_data = True
    # "elbo": value and gradient are unbiased for it; "evidence": another bound on log p(x); None: neither.
    # A user's own says which: those of the ELBO are ranked among each other by ``check_estimators``.
    target: Literal["elbo", "evidence"] | None = None
    # On which side of log p(x) the bound lies that is estimated; None where that is not known.
    side: Literal["lower", "upper"] | None = None
    # Whether the bound is a mean log likelihood minus ``kl``, so that an objective may weight the two apart.
    separates_kl = False

    @abstractmethod
    def bound(self, terms: Terms) -> Tensor:
        """The estimate of the bound given the global draw, if any: [N], nats per datum, higher is better."""

    def surrogate(self, terms: Terms) -> Tensor | None:
        """The value [N] that is differentiated in place of ``bound``; None where the bound itself is."""
        return None

    def kl(self, terms: Terms) -> Tensor:
        """The KL term as this estimator reads it, times kl_weight: [K, N], nats."""
        return terms.kl_weight * (terms.log_guide - terms.log_prior)

    def global_bound(self, terms: Terms) -> Tensor:
        """The part of the global sites in the bound of the set, log p(y|g) - KL(q(g) || p(g)): a scalar, nats."""
        if terms.whole is None:
            return terms.log_likelihood.new_zeros(())
        return (terms.whole.log_likelihood - self.kl(terms.whole)).mean()

    def share(self, terms: Terms) -> Tensor:
        """A datum's share of ``global_bound``: a scalar, nats per datum."""
        of_set = self.global_bound(terms)
        return of_set if terms.whole is None else of_set / terms.num_total

    def record(self, terms: Terms) -> tuple[Tensor, ...]:
        """The terms of the ELBO for a history, means over draws and data: log likelihood and KL, nats.

        Of a pair with global sites also KL(q(g) || p(g)) of the whole set, and a datum's share of ``global_bound``.
        """
        local = self.local_record(terms)
        return local if terms.whole is None else (*local, self.kl(terms.whole).mean(), self.share(terms))

    def local_record(self, terms: Terms) -> tuple[Tensor, Tensor]:
        """The log likelihood and the KL of the local sites, means over draws and data."""
        number = terms.num_data
        return terms.log_likelihood[:, :number].mean(), self.kl(terms)[:, :number].mean()

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Minus the mean of the bound over the batch, nats per datum, with the surrogate's gradient."""
        bound, surrogate = self.bound(terms), self.surrogate(terms)
        if surrogate is not None:
            bound = surrogate + (bound - surrogate).detach()
        return -bound.mean() if terms.whole is None else -bound.mean() + self.global_loss(terms)

    def global_loss(self, terms: Terms) -> Tensor:
        """Minus a datum's share of what the global sites add, with its gradient: a scalar, nats per datum.

        0 of a pair that has none.
        """
        if terms.whole is None:
            return terms.log_likelihood.new_zeros(())
        self.require_levels(terms)
        share = self.share(terms)
        if self.gradient == "score":
            surrogate = self._score_of_set(terms, terms.whole) / terms.num_total
            share = surrogate + (share - surrogate).detach()
        return -share

    def require_levels(self, terms: Terms) -> None:
        """Refuse terms that this estimator makes no bound of: of two levels, or of plates that take some members.

        Raises:
            ModelError: the site is named.
        """
        if self.target != "elbo":
            require_all_members(type(self).__name__, terms)
        require_given_global(type(self).__name__, terms, self.share_draws, self.gradient == "score")

    @property
    def share_draws(self) -> int:
        """The draws in a row at one draw of the global sites: of an ELBO each has its own, else all have one.

        What is no mean over draws must not mix draws of the global sites.
        """
        return 1 if self.target == "elbo" else self.num_draws

    def bounds_given_global(self, terms: Terms) -> Tensor:
        """The bound of every datum at every draw of the global sites: [M, N], nats."""
        return terms.log_weight if self.share_draws == 1 else self.bound(terms).unsqueeze(0)

    def baseline_of_set(self, terms: Terms, signal: Tensor) -> Tensor:
        """The baseline of the signals of the global draws [M], independent of the draw that it is for."""
        return torch.zeros_like(signal)

    def _score_of_set(self, terms: Terms, whole: Terms) -> Tensor:
        """The value whose derivative is that of the set's bound by the parameters of q(g), p(g) and p(y|g)."""
        every = slice(None, None, self.share_draws)
        of_set = (whole.log_likelihood + whole.kl_weight * (whole.log_prior - whole.log_guide))[every, 0]
        signal = set_signal(terms, self.bounds_given_global(terms), of_set)
        signal = signal - self.baseline_of_set(terms, signal)
        model_part = (whole.log_likelihood + whole.kl_weight * whole.log_prior)[every, 0]
        return (model_part + signal * whole.log_guide[every, 0]).mean()

    @overload
    def per_datum(self, pair: PairLike, x: Data, *args: object, **kwargs: object) -> Tensor: ...

    @overload
    def per_datum(self, model: Program, guide: Program, x: Data, *args: object, **kwargs: object) -> Tensor: ...

    def per_datum(self, *args: object, **kwargs: object) -> Tensor:
        """The bound for every datum, from (pair, x, ...) or (model, guide, x, ...): [N], nats. Gradients flow.

        Of a pair with global sites it is the local part, given the global draw; ``evaluate`` tells the rest.
        Like the loss, the bound is multiplied by a ``poutine.scale`` in the user's programs; ``evaluate`` is not.

        Raises:
            ModelError: the pair is refused; the site is named.
            DataError: the model's likelihood has no density for some value of x.
        """
        pair, x, further, named = called_with(args, kwargs)
        pair, given, named = as_arguments(pair, x, further, named)
        terms = self.run(pair.model, pair.guide, *given, **named)
        self._judge_once(pair.model, pair.guide, given, named, terms)
        require_data_rows(terms.log_likelihood.shape[1], given[0])
        require_uncoupled(terms)
        return self.bound(terms)

    @property
    def estimator(self) -> Estimator:
        """The estimator itself: it is an objective that weights nothing."""
        return self
