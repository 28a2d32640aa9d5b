r"""A VAE that learns classes from few labels and many data without (M2 of Kingma, Mohamed, Rezende & Welling 2014).

    model:  y ~ Categorical(1/C, ..., 1/C),   z ~ N(0, I),   x ~ p(x | decoder(y, z))
    guide:  y ~ Categorical(softmax(logits(x))), or the label where it is known,   z ~ q(z | x, y)

With the label summed out (``inf.Enumeration(vae.num_configurations)``) the bound of a datum is

    labelled    -L(x, y) = E_q(z|x,y) [log p(x|y, z) + log p(y) + log p(z) - log q(z|x, y)]    <= log p(x, y)
    unlabelled  -U(x)    = sum_y q(y|x) (-L(x, y)) + H(q(y|x))                                <= log p(x)

Both programs take labels y [N], integers, -1 where one is missing; without any, all are. Labelled and unlabelled
data may stand in one batch, in any numbers: every datum is decoded once a class, so that shapes do not depend on
which labels are known. The labels train q(y|x) by ``inf.ClassifierTerm``. Sites: "y", one-hot with event shape [C],
and "z". The paper gives q(y|x) and q(z|x, y) networks of their own, as the recipe does; by default they share the
encoder of x.

With labels the evaluated bound is that on log p(x, y), not on log p(x): ``pv.evaluate(vae, x, y=y)`` and, where
the test or validation data have labels, the columns test_elbo and validation_elbo of a history. In train_elbo every
datum counts with the bound of its own kind. ``pv.evaluate(vae, x)`` bounds log p(x).

Kingma, Mohamed, Rezende & Welling (2014): https://arxiv.org/abs/1406.5298
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.models.configuration import Spec, remembers
from ppl_vae.models.labelled.category import likeliest, one_hot
from ppl_vae.models.labelled.category_and_code import CategoryAndCodePair, code_given_category
from ppl_vae.models.labelled.semi_supervised_programs import (
    SHARED,
    Classifier,
    SemiSupervisedGuide,
    SemiSupervisedProgram,
    classifier_config,
    classifier_network,
)
from ppl_vae.models.likelihoods.likelihoods import LikelihoodSpec
from ppl_vae.models.priors.priors import StandardNormalPrior
from ppl_vae.models.program_pair import Network, checked_size, on_request
from ppl_vae.randomness import seeded


class SemiSupervisedVAE(CategoryAndCodePair):
    """The model M2: a class "y" that is known for some data, and a code "z" for the variation within a class.

    Args:
        event_shape: the shape of one datum.
        latent_dim: L, of z.
        num_classes: C.
        network: as of VAE; a decoder of the user's own maps [B, C + L].
        hidden: the hidden layers between the encoder's features with y and q(z|x, y).
        likelihood: as of VAE.
        posterior: of z, as of VAE, for one that stands on features alone.
        classifier: the network below the one linear layer of q(y|x): "shared" for the encoder of q(z|x, y), or one
            of its own, as ``network`` names an encoder, or an nn.Module [B, *event_shape] -> [B, F].
        seed: of the initial weights; None takes torch's current stream.

    Raises:
        ModelError: an unknown name, a size below one, or parts that do not fit together.
    """

    kind = "semi-supervised"
    latent_dim: int
    model: SemiSupervisedProgram
    guide: SemiSupervisedGuide

    @remembers
    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int = 10,
        network: Network = "mlp",
        hidden: Sequence[int] = (64,),
        likelihood: LikelihoodSpec = "bernoulli",
        posterior: Spec = "diagonal",
        classifier: Classifier = SHARED,
        *,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shape, observed = self.observe(event_shape, likelihood)
        self.latent_dim = checked_size("latent_dim", latent_dim)
        self.num_classes = checked_size("num_classes", num_classes)
        family, prior = self.infer(posterior), StandardNormalPrior()
        self.remember(classifier=classifier_config(classifier))
        with seeded(seed):
            encoder, decoder = self.networks(network, self.num_classes + self.latent_dim, observed)
            prior.build(self.latent_dim)
            conditional = code_given_category(encoder, shape, self.num_classes, hidden, family, self.latent_dim)
            self.model = SemiSupervisedProgram(self.num_classes, prior, decoder, observed, shape)
            own_classifier = classifier_network(classifier, shape, observed)
            self.guide = SemiSupervisedGuide(
                encoder, self.num_classes, conditional, shape, observed.allows_missing, own_classifier
            )

    @property
    def num_configurations(self) -> int:
        """The number C of configurations that an exact enumeration sums over."""
        return self.num_classes

    def classify(self, x: Array) -> dist.TorchDistribution:
        """The posterior q(y|x) for data [N, *event_shape], labels unseen: batch shape [N], event shape [C]."""
        return dist.OneHotCategorical(logits=self.guide.label_logits(self.own_data(x)))

    @on_request
    def encode(self, x: Array, y: Array | None = None) -> dist.TorchDistribution:
        """The posterior q(z|x, y) of x [N, *event_shape] and classes (default: the likeliest): event shape [L]."""
        data = self.own_data(x)
        features = self.guide.features(data)
        label = self.guide.label_logits(data, features).argmax(-1) if y is None else to_tensor(y, "y")
        return self.guide.code(features, one_hot(label.to(features.device), self.num_classes, features))

    @torch.no_grad()
    def reconstruct(self, x: Array, y: Array | None = None) -> Tensor:
        """The mean of p(x|y, z) at the mean of q(z|x, y), y the likeliest class or given: [N, *event_shape]."""
        label = likeliest(self.classify(x)) if y is None else y
        return self.decode(self.encode(x, label).mean, label).mean

    @torch.no_grad()
    def analogies(self, x: Array, y: Array | None = None) -> Tensor:
        """Decode every class in the style of every datum: the code from x, the class varied.

        Args:
            x: [N, *event_shape].
            y: the classes of x, where they are known; the likeliest else.

        Returns:
            Means of p(x|y, z): [C, N, *event_shape].
        """
        z = self.encode(x, y).mean.expand(self.num_classes, -1, -1)
        classes = torch.arange(self.num_classes, device=z.device).unsqueeze(-1).expand(z.shape[:-1])
        return self.decode(z, classes).mean
