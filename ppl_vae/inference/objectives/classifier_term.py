r"""The cross entropy of a classifier q(y|x) with the known labels, added to a bound that does not train it.

    J = -bound - alpha E_labelled[log q(y|x)]         (Kingma, Mohamed, Rezende & Welling 2014)

Where a label is known the bound has no q(y|x) in it, so that only the unlabelled data would train the classifier.
The bound is the batch mean per datum, and the expectation the mean over the labelled data of the batch. The paper
writes sums over all N data and alpha = 0.1 N: that is alpha = 0.1 here, with which a labelled datum's cross entropy
weighs 0.1 N / N_labelled times as much as its bound. Trained for tens of epochs and not for thousands, as there, a
classifier needs more.

Kingma, Mohamed, Rezende & Welling (2014), eq. 9: https://arxiv.org/abs/1406.5298
"""

from __future__ import annotations

from torch import Tensor

from ppl_vae.checks import real
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.objectives.weightings import Weighting
from ppl_vae.inference.pair.protocols import TellsLabels
from ppl_vae.inference.pair.terms import Terms


class ClassifierTerm(Weighting):
    """The cross entropy of q(y|x) with the known labels, added to the loss of another objective.

    The guide's distribution of the site tells which labels are known and what the classifier gives to them, as
    ``models.PartlyObservedCategory`` does: by its attributes ``known`` and ``label_log_prob``, both [N]. The mean
    over a batch's labelled data is unbiased in every batch that holds one; a batch without leaves the term out.

    Args:
        elbo: the objective that it is added to, or its name.
        alpha: nats of bound per datum for a nat of cross entropy; at least 0.
        site: the label's site.

    Raises:
        ModelError: alpha is negative or no number.
    """

    def __init__(self, elbo: str | Objective, alpha: float = 1.0, site: str = "y") -> None:
        super().__init__(elbo)
        self.alpha, self.site = real("alpha", alpha, least=0), site

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """The other's loss plus alpha times the cross entropy, nats per datum."""
        return self.weighted.forward(terms, step) + self.alpha * self.cross_entropy(terms)

    def cross_entropy(self, terms: Terms) -> Tensor:
        """The mean of -log q(y|x) over the labelled data of the batch: a scalar, nats; 0 where there are none.

        Raises:
            ModelError: there is no such site, or its guide does not tell which labels are known.
        """
        if self.site not in terms.sites:
            raise ModelError(f"a classifier term needs a site {self.site!r}; the guide draws {list(terms.sites)}")
        q = terms.sites[self.site].q
        if not isinstance(q, TellsLabels):
            raise ModelError(
                f"site {self.site!r}: a classifier term needs a guide that tells which labels are known, such as "
                f"models.PartlyObservedCategory, got {type(q).__name__}"
            )
        return -q.label_log_prob.sum() / q.known.sum().clamp_min(1)

    def extra_repr(self) -> str:
        """The options that a manifest states."""
        return f"alpha={self.alpha}, site={self.site!r}"
