"""The two programs of the semi-supervised VAE; the guide alone reads which labels are known."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from torch import Tensor, nn

from ppl_vae.errors import ModelError
from ppl_vae.models.configuration import Config
from ppl_vae.models.hierarchies.conditional import Conditional
from ppl_vae.models.labelled.category import required_labels
from ppl_vae.models.labelled.category_and_code import CategoryAndCode
from ppl_vae.models.labelled.gaussian_mixture_vae import CodeGivenCategory
from ppl_vae.models.labelled.observed_category import MISSING, PartlyObservedCategory
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.missingness import encoder_of
from ppl_vae.models.programs import num_features
from ppl_vae.networks import Architecture, architecture, architecture_config
from ppl_vae.precision import widened

SHARED = "shared"
# What stands below the linear layer of q(y|x): SHARED, what names an architecture, or a module of the user's own.
Classifier = str | Mapping[str, object] | Architecture | nn.Module


class SemiSupervisedProgram(CategoryAndCode):
    """The program p(y) p(z) p(x|y, z) with p(y) uniform. The guide puts all mass of y on a known label."""

    takes_labels = True
    allows_missing_labels = True

    @property
    def num_classes(self) -> int:
        """The number C of classes."""
        return len(self.logits)

    def forward(self, x: Tensor | None = None, y: Tensor | None = None, size: int | None = None) -> Tensor:
        """Run the program, conditioned on x or drawing ``size`` data; y [N] is for the guide.

        Raises:
            ModelError: neither x nor size is given, or x or y has another shape.
        """
        return self.run(self.latents, x, size)


class SemiSupervisedGuide(CodeGivenCategory):
    """The guide q(y|x) q(z|x, y), in which a known y is a point mass.

    Args:
        encoder: [N, *event_shape] -> features [N, H], on which q(z|x, y) stands.
        num_classes: C.
        conditional: (features, y) [B, H + C] -> q(z|x, y).
        event_shape, allows_missing: as of ``models.programs.Recognition``.
        classifier: [N, *event_shape] -> features [N, F], on which q(y|x) stands by one linear layer; None for the
            encoder's.
    """

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int,
        conditional: Conditional,
        event_shape: tuple[int, ...],
        allows_missing: bool = False,
        classifier: nn.Module | None = None,
    ) -> None:
        head = nn.Linear(num_features(encoder, event_shape), num_classes)
        if classifier is not None:
            # After the encoder's head, which is drawn all the same: a seed gives the weights that it always gave.
            head = nn.Linear(num_features(classifier, event_shape), num_classes)
        super().__init__(encoder, head, conditional, event_shape, allows_missing)
        self.classifier = classifier

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Run the program: it draws y, then z.

        Args:
            x: [N, *event_shape].
            y: labels [N], integers, -1 where one is missing; None for all.

        Raises:
            ModelError: x or y has another shape, or y is not of integers.
        """
        size = self.begin(x)
        labels = torch.full((size,), MISSING, device=x.device) if y is None else required_labels(y, size)
        with pyro.plate("data", size):
            features = self.features(x)
            category = pyro.sample("y", PartlyObservedCategory(widened(self.label_logits(x, features)), labels))
            return pyro.sample("z", self.code(features, category))

    def label_logits(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """The logits of q(y|x) [N, C].

        Args:
            x: [N, *event_shape].
            features: the encoder's of x [N, H], where they are known already.
        """
        if self.classifier is not None:
            return self.category_head(self.classifier(self.seen_by(self.classifier, x)))
        return self.category_head(self.features(x) if features is None else features)


def classifier_network(
    classifier: Classifier, event_shape: tuple[int, ...], likelihood: Likelihood
) -> nn.Module | None:
    """The network of q(y|x) alone that ``classifier`` stands for; None where it shares the encoder.

    Raises:
        ModelError: the name or an option is unknown.
    """
    if isinstance(classifier, nn.Module):
        return classifier
    return None if classifier == SHARED else encoder_of(_named(classifier), event_shape, likelihood)


def classifier_config(classifier: Classifier) -> str | Config | None:
    """The configuration that makes the classifier again; None for a module of the user's own."""
    if isinstance(classifier, nn.Module):
        return None
    return SHARED if classifier == SHARED else architecture_config(_named(classifier))


def _named(classifier: str | Mapping[str, object] | Architecture) -> Architecture:
    try:
        return architecture(classifier)
    except ModelError as error:
        raise ModelError(f"classifier: {error}") from error
