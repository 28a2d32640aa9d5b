"""A VAE as a transformer and density estimator of scikit-learn (Pedregosa et al. 2011).

Rows are data, columns features. Codes are the means of q(z|x), the way back is the mean of p(x|z), and the score is
log p(x), estimated by importance sampling: a lower bound in expectation that rises to log p(x) with the number of
draws (Burda, Grosse & Salakhutdinov 2016, equation 8, https://arxiv.org/abs/1509.00519).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference import fit as fit_pair
from ppl_vae.inference import log_evidence
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.pair.evaluation import data_per_chunk
from ppl_vae.inference.pair.given_noise import GivenNoise, is_gaussian
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.training.preparation import DEFAULT_VALIDATION_FRACTION
from ppl_vae.models import VAE
from ppl_vae.networks import Architecture
from ppl_vae.randomness import seeded
from ppl_vae.recipes import RECIPES, Recipe, make, option_names
from ppl_vae.sklearn.content_noise import content_noise, content_seed

FLOATS = (np.float64, np.float32)
# Of a recipe that says nothing of its data: columns of a table are numbers.
LIKELIHOOD = "gaussian"


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A variational autoencoder in scikit-learn's interface.

    Weights are trained in single precision and used in double, so that what a row gets does not depend on the rows
    beside it. Columns of very different scales are best put through a StandardScaler first.

    Args:
        latent_dim: the number of codes L.
        recipe: one of ``pv.list_recipes()`` whose model is a VAE.
        likelihood: as of ``VAE``; "bernoulli" for binary features. None takes the recipe's, and "gaussian" where it
            has none of its own.
        network: as of ``VAE``; None takes the recipe's.
        prior: as of ``VAE``; None takes the recipe's.
        posterior: as of ``VAE``; None takes the recipe's.
        event_shape: what a row is reshaped to, such as (1, 28, 28); None keeps it flat.
        options: further options of the recipe, such as {"beta": 4.0}.
        epochs: passes over the data; None takes the recipe's.
        batch_size: rows a step, or all where there are fewer; None takes the recipe's.
        lr: the learning rate; None takes the recipe's.
        num_samples: importance draws per row of ``score_samples``.
        random_state: of the initial weights, the batches and the draws.

    Attributes:
        vae_: the trained VAE, in double precision.
        history_: a row per epoch, as of ``pv.fit``.
        n_features_in_: the number of columns.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(64, 4))
    >>> transformer = VAETransformer(latent_dim=2, epochs=1, random_state=0)
    >>> transformer.fit_transform(X).shape
    (64, 2)
    """

    def __init__(
        self,
        latent_dim: int = 2,
        *,
        recipe: str = "vae",
        likelihood: str | Mapping[str, object] | None = None,
        network: str | Architecture | None = None,
        prior: str | Mapping[str, object] | None = None,
        posterior: str | Mapping[str, object] | None = None,
        event_shape: Sequence[int] | None = None,
        options: Mapping[str, object] | None = None,
        epochs: int | None = 50,
        batch_size: int | None = 128,
        lr: float | None = 1e-3,
        num_samples: int = 100,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.recipe = recipe
        self.likelihood = likelihood
        self.network = network
        self.prior = prior
        self.posterior = posterior
        self.event_shape = event_shape
        self.options = options
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.num_samples = num_samples
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train on X [n, n_features]; y is not used.

        Raises:
            ValueError: X is no matrix of finite numbers of two rows at least, or an option is not known.
        """
        rows = validate_data(self, X, dtype=FLOATS, ensure_min_samples=2)
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        shape = self._event_shape()
        if np.abs(rows).max() > np.finfo(np.float32).max:
            raise DataError("X: a value does not fit single precision; scale the features first")
        x = torch.from_numpy(np.array(rows, dtype=np.float32)).reshape(-1, *shape)
        recipe = make(self.recipe, shape, data=x, **self._recipe_options())
        if self.batch_size is not None:
            integer("batch_size", self.batch_size)
        if not isinstance(recipe.vae, VAE):
            raise ModelError(f"recipe {self.recipe!r} makes a {type(recipe.vae).__name__}, which has no one code z")
        result = fit_pair(
            recipe,
            x,
            epochs=self.epochs,
            batch_size=None if self.batch_size is None else min(self.batch_size, _num_training(recipe, len(x))),
            lr=self.lr,
            device="cpu",
            seed=self.seed_,
            progress=False,
        )
        self.vae_ = recipe.vae.double()
        self.history_ = result.history
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Encode X [n, n_features] into the means of q(z|x): [n, latent_dim]."""
        x, dtype = self._admitted(X)
        with torch.no_grad():
            codes = [self.vae_.encode(batch).mean for batch in x.split(data_per_chunk(x, 1))]
        return torch.cat(codes).numpy().astype(dtype, copy=False)

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """Decode codes Z [n, latent_dim] into the means of p(x|z): [n, n_features]."""
        check_is_fitted(self)
        codes = check_array(Z, dtype=FLOATS)
        if codes.shape[1] != self.vae_.latent_dim:
            raise DataError(f"Z: expected {self.vae_.latent_dim} columns, got {codes.shape[1]}")
        with torch.no_grad():
            means = self.vae_.decode(torch.from_numpy(np.array(codes, dtype=np.float64))).mean
        return means.flatten(1).numpy().astype(codes.dtype, copy=False)

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Estimate log p(x) of every row by importance sampling, nats: [n].

        A row's draws are a function of its content, so that its score does not depend on the other rows. Draws of
        different rows are independent; equal rows get equal scores, with one and the same Monte-Carlo error. The
        error of a mean over rows is that of its distinct ones, however often they are repeated. In
        ``log_evidence`` equal data have draws of their own, and errors that are stated. Under a likelihood that is
        no density, "bernoulli-relaxed", it is a score that no other likelihood's can be compared with.
        """
        x, dtype = self._admitted(X)
        num_samples = integer("num_samples", self.num_samples)
        with torch.no_grad():
            if is_gaussian(self.vae_.encode(x[:1])):
                size = data_per_chunk(x, num_samples)
                scores = torch.cat([self._scores(batch, num_samples) for batch in x.split(size)])
            else:
                # A family without given noise: every row has a stream of its own, and takes its turn.
                scores = torch.stack(
                    [
                        log_evidence(self.vae_, x[n : n + 1], num_samples=num_samples, seed=seed).per_datum[0]
                        for n, seed in enumerate(content_seed(x, self.seed_))
                    ]
                )
        return scores.numpy().astype(dtype, copy=False)

    def score(self, X: ArrayLike, y: object = None) -> float:
        """The mean of ``score_samples`` over the rows of X: nats per row."""
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Draw from the model, z ~ p(z) and x ~ p(x|z): [n_samples, n_features]."""
        check_is_fitted(self)
        with seeded(int(check_random_state(random_state).randint(2**31 - 1))):
            return self.vae_.sample(n_samples, with_noise=True).flatten(1).numpy()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.vae_.latent_dim

    def _scores(self, x: Tensor, num_samples: int) -> Tensor:
        noise = content_noise(x, {"z": (num_samples, self.vae_.latent_dim)}, self.seed_)
        if num_samples == 1:
            noise = {name: eps[0] for name, eps in noise.items()}
        terms = run_terms(self.vae_.model, self.vae_.guide, (x,), {}, num_samples, draw_handler=GivenNoise(noise))
        return log_mean_exp(terms.log_weight)

    def _admitted(self, X: ArrayLike) -> tuple[Tensor, np.dtype]:
        """The rows of X as data of the VAE, and the precision that the answer is given in."""
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=FLOATS)
        x = torch.from_numpy(np.array(rows, dtype=np.float64)).reshape(-1, *self.vae_.event_shape)
        self.vae_.model.check_data(x)
        return x, rows.dtype

    def _event_shape(self) -> tuple[int, ...]:
        if self.event_shape is None:
            return (self.n_features_in_,)
        shape = tuple(integer("event_shape", size) for size in self.event_shape)
        if np.prod(shape) != self.n_features_in_:
            raise DataError(
                f"X: expected {np.prod(shape)} columns for event_shape {shape}, got {self.n_features_in_}"
            )
        return shape

    def _recipe_options(self) -> dict[str, object]:
        """What was asked for, beside which the recipe keeps its own parts."""
        asked = {
            "latent_dim": self.latent_dim,
            "seed": self.seed_,
            "likelihood": self.likelihood,
            "network": self.network,
            "prior": self.prior,
            "posterior": self.posterior,
        }
        parts = {name: part for name, part in asked.items() if part is not None}
        if self.recipe in RECIPES:
            if "likelihood" not in RECIPES[self.recipe].parts:
                parts.setdefault("likelihood", LIKELIHOOD)
            # A recipe of another kind of model is refused as such, and not for an argument that it does not take.
            parts = {name: part for name, part in parts.items() if name in option_names(self.recipe)["parts"]}
        return parts | dict(self.options or {})


def _num_training(recipe: Recipe, num_data: int) -> int:
    """The rows that are left to train on where a recipe's patience sets some aside, as ``fit`` does."""
    aside = max(1, round(DEFAULT_VALIDATION_FRACTION * num_data)) if recipe.settings.get("patience") else 0
    return num_data - aside
