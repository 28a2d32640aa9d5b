"""Likelihoods by name; here those of binary data, of data in [0, 1], and of data with missing cells."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.arrays import all_finite
from ppl_vae.distributions import ContinuousBernoulli, ObservedCoordinates
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.configuration import Config, Constructors, Plain, from_spec, own_config, remembers
from ppl_vae.models.likelihoods.base import Likelihood, check_unit_interval
from ppl_vae.models.likelihoods.columns import Columns
from ppl_vae.models.likelihoods.counts import NegativeBinomialLikelihood, PoissonLikelihood
from ppl_vae.models.likelihoods.grey import CategoricalLikelihood, DiscretisedLogisticLikelihood
from ppl_vae.models.likelihoods.levels import NominalLikelihood, OrdinalLikelihood
from ppl_vae.models.likelihoods.positive import BetaLikelihood, CensoredGaussianLikelihood, LogNormalLikelihood
from ppl_vae.models.likelihoods.real import GaussianLikelihood, StudentTLikelihood
from ppl_vae.models.likelihoods.zero_inflated import (
    ZeroInflatedNegativeBinomialLikelihood,
    ZeroInflatedPoissonLikelihood,
)

NUMBERS_AT_ONCE = 1 << 18


class BernoulliLikelihood(Likelihood):
    """A likelihood of independent binary pixels; the features are logits."""

    name = "bernoulli"

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of binary data."""
        return dist.Bernoulli(logits=features.squeeze(-1 - event_dim)).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse data that are not binary."""
        # Of all finite numbers 0 and 1 alone are their own squares; parts of the data stay in the cache.
        if all(torch.equal(part * part, part) for part in x.flatten().split(NUMBERS_AT_ONCE)) and all_finite(x):
            return
        if grey := ((x != 0) & (x != 1)).sum().item():
            raise DataError(
                f"likelihood 'bernoulli' needs binary data, but {grey} of {x.numel()} values lie strictly "
                "between 0 and 1 or outside: load the data with binarize='dynamic' (or 'threshold', "
                "'stochastic'), or ask for likelihood='bernoulli-relaxed', whose value is no log likelihood"
            )


class RelaxedBernoulliLikelihood(Likelihood):
    """The Bernoulli's formula x log p + (1 - x) log(1 - p) applied to grey x in [0, 1]: binary cross entropy.

    This is the usual "reconstruction loss" of tutorials. It is not normalised over [0, 1], so its value is
    no log likelihood and its ELBO is comparable only with others of the same kind.
    """

    name = "bernoulli-relaxed"
    is_density = False

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The Bernoulli whose mean is the decoded image; grey values pass its ``log_prob``."""
        logits = features.squeeze(-1 - event_dim)
        return dist.Bernoulli(logits=logits, validate_args=False).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse values outside [0, 1]."""
        check_unit_interval(self.name, x)


class ContinuousBernoulliLikelihood(Likelihood):
    """The continuous Bernoulli on [0, 1], normalised (Loaiza-Ganem & Cunningham 2019).

    Loaiza-Ganem & Cunningham (2019): https://arxiv.org/abs/1907.06845
    """

    name = "continuous-bernoulli"

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of data in [0, 1]."""
        logits = features.squeeze(-1 - event_dim)
        return ContinuousBernoulli(logits).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse values outside [0, 1]."""
        check_unit_interval(self.name, x)


class MissingPixels(Likelihood):
    """A likelihood for data with missing cells, made from another one: NaN in x marks a missing coordinate.

    p(x_observed | z) is the product over the observed coordinates, exactly the missing ones integrated out; the
    encoder sees 0 in their place (Nazabal et al. 2020; Mattei & Frellsen 2019) and, beside the values, which they
    are (``MissingnessEncoder``). Draws and means are full data. ``fit`` takes such data as a tensor or array, or in
    batches.

    Nazabal, Olmos, Ghahramani & Valera (2020): https://arxiv.org/abs/1807.03653
    Mattei & Frellsen (2019): https://arxiv.org/abs/1812.02633

    Args:
        of: a name, a configuration or a Likelihood, independent over coordinates.
        encoder_sees_mask: whether a named network's encoder reads which coordinates are missing; a user's own one
            asks for it by itself.

    Raises:
        ModelError: ``of`` is not given, or no likelihood of data without holes.
    """

    name = "missing-pixels"
    allows_missing = True

    @remembers
    def __init__(self, of: LikelihoodSpec | None = None, encoder_sees_mask: bool = True) -> None:
        super().__init__()
        if of is None:
            raise ModelError(
                "likelihood 'missing-pixels' needs the likelihood of the observed values, for instance "
                "likelihood={'name': 'missing-pixels', 'of': 'gaussian'}"
            )
        if not isinstance(encoder_sees_mask, bool):
            raise ModelError(f"encoder_sees_mask must be True or False, got {encoder_sees_mask!r}")
        self.likelihood = likelihood(of)
        self.remember(of=own_config(self.likelihood, LIKELIHOODS))
        self.encoder_sees_mask = encoder_sees_mask
        self.num_parameters, self.is_density = self.likelihood.num_parameters, self.likelihood.is_density
        self.encoder_sees, self.inside = self.likelihood.encoder_sees, self.likelihood.inside

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of data with missing cells."""
        return self._observed(self.likelihood(features, event_dim), event_dim)

    def adapt(self, features: Tensor, x: Tensor, event_dim: int) -> dist.TorchDistribution:
        """p(x|z) where it is conditioned on x."""
        return self._observed(self.likelihood.adapt(features, x, event_dim), event_dim)

    def start(self, x: Tensor) -> Tensor | None:
        """That of the inner likelihood, which knows holes."""
        return self.likelihood.start(x)

    def _observed(self, full: dist.TorchDistribution, event_dim: int) -> ObservedCoordinates:
        if not isinstance(full, dist.Independent) or full.reinterpreted_batch_ndims != event_dim:
            raise ModelError(
                f"likelihood {self.name!r} needs an inner one that is independent over coordinates, as Pyro's "
                f"Independent(base, {event_dim}), got {full}"
            )
        return ObservedCoordinates(full, self.likelihood.inside)

    def check(self, x: Tensor) -> None:
        """Judge the observed values as the inner likelihood does."""
        observed = x[~x.isnan()]
        if len(observed):
            self.likelihood.check(observed)


LikelihoodSpec = str | Mapping[str, object] | Likelihood

LIKELIHOODS: Constructors = {
    kind.name: kind
    for kind in (
        BernoulliLikelihood,
        RelaxedBernoulliLikelihood,
        ContinuousBernoulliLikelihood,
        GaussianLikelihood,
        StudentTLikelihood,
        LogNormalLikelihood,
        CensoredGaussianLikelihood,
        BetaLikelihood,
        PoissonLikelihood,
        NegativeBinomialLikelihood,
        ZeroInflatedPoissonLikelihood,
        ZeroInflatedNegativeBinomialLikelihood,
        OrdinalLikelihood,
        NominalLikelihood,
        CategoricalLikelihood,
        DiscretisedLogisticLikelihood,
        MissingPixels,
        Columns,
    )
}


def stored(spec: Plain) -> Plain:
    """The configuration of a likelihood as a model on disk has it.

    In one from before these settings an encoder sees counts as they are, and does not see which cells are missing.
    """
    if not isinstance(spec, dict):
        return spec
    old: Config = {}
    if spec.get("name") in (PoissonLikelihood.name, NegativeBinomialLikelihood.name):
        old = {"encoder_sees": "x"}
    elif spec.get("name") == MissingPixels.name:
        old = {"encoder_sees_mask": False}
    return {**old, **spec, **({"of": stored(spec["of"])} if "of" in spec else {})}


def likelihood(spec: LikelihoodSpec) -> Likelihood:
    """The likelihood behind a name, a stored configuration, or itself.

    Raises:
        ModelError: the name is unknown, or the module is no Likelihood.
    """
    part = from_spec("likelihood", spec, LIKELIHOODS)
    if not isinstance(part, Likelihood):
        raise ModelError(f"likelihood must be a pv.models.Likelihood, got {type(part).__name__}")
    return part


def likelihood_config(part: Likelihood) -> Config | None:
    """The configuration that makes the likelihood again; None for a user's own."""
    return own_config(part, LIKELIHOODS)
