r"""Holes in a latent space: the share of points whose decoded images are unlike the data.

    confidence    max_c p(c | image) under a classifier of real data that the model has never met
    distance      sqrt(mean over pixels of (image - nearest real image)^2)

The same numbers of held-out real images say what can be expected: a draw is in a hole if it is less certain, or
further off, than 95 of 100 real images. Neither number alone will do: a classifier may be sure of what is no digit,
and a blurred mean is near to every image. An autoencoder leaves holes between its codes; a VAE's KL closes them to
the prior, as far as it goes (Ghosh et al. 2020, https://arxiv.org/abs/1903.12436; Dai & Wipf 2019,
https://arxiv.org/abs/1903.05789).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.diagnostics.verdict import Level, Verdict, require_finite, share_stderr
from ppl_vae.errors import DataError
from ppl_vae.renamed import renamed

# How many of 100 real images lie beyond each of the two limits.
BEYOND = 0.05
CHUNK = 512
ERRORS = 4.0
# An excess over real images that is known to be below this, by two standard errors, is none.
FEW = 0.1

Classifier = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LatentHoles:
    """The confidence and nearest distance of decoded draws, beside those of real data.

    Attributes:
        confidence: of the classifier in its likeliest class, for every draw: [n].
        distance: of every draw to the nearest real image, root mean square over pixels: [n].
        real_confidence: the same of held-out real images: [m].
        real_distance: the same of held-out real images: [m].
    """

    confidence: Tensor
    distance: Tensor
    real_confidence: Tensor
    real_distance: Tensor

    @property
    def in_hole(self) -> Tensor:
        """Mark the draws that are less certain, or further off, than 95 of 100 real images: [n], bool."""
        return self._beyond(self.confidence, self.distance)

    @property
    def real_in_hole(self) -> Tensor:
        """Mark the held-out real images in holes: [m], bool; between 5 and 10 of 100 by construction."""
        return self._beyond(self.real_confidence, self.real_distance)

    def _beyond(self, confidence: Tensor, distance: Tensor) -> Tensor:
        uncertain = confidence < self.real_confidence.quantile(BEYOND)
        return uncertain | (distance > self.real_distance.quantile(1 - BEYOND))

    def summary(self) -> dict[str, float]:
        """Tabulate means over the draws with their standard errors, and those of real images."""
        found: dict[str, float] = {}
        for name, values in (
            ("confidence", self.confidence),
            ("distance", self.distance),
            ("in_hole", self.in_hole.to(self.confidence)),
        ):
            found |= {name: values.mean().item(), f"{name}_stderr": _stderr(values)}
        return found | {
            "real_confidence": self.real_confidence.mean().item(),
            "real_distance": self.real_distance.mean().item(),
            "real_in_hole": self.real_in_hole.float().mean().item(),
        }


@torch.no_grad()
def run_latent_holes(images: Tensor, train: Tensor, held_out: Tensor, classifier: Classifier) -> LatentHoles:
    """Judge decoded draws.

    Args:
        images: means of p(x|z) at draws of a latent space [n, *event_shape].
        train: the real images that distances are taken to [N, *event_shape].
        held_out: real images that neither the model nor the classifier was trained on [m, *event_shape].
        classifier: images -> class probabilities [n, C]; trained on real images.

    Raises:
        DataError: images of another shape, none, or with values that are not finite; or a classifier that gives no
            probabilities.
    """
    for name, x in (("train", train), ("images", images), ("held_out", held_out)):
        if x.shape[1:] != train.shape[1:] or not len(x):
            raise DataError(f"{name}: expected shape {['N', *train.shape[1:]]}, got {list(x.shape)}")
        if not x.isfinite().all():
            raise DataError(f"{name}: {int((~x.isfinite()).sum())} of {x.numel()} values are NaN or infinite")
    return LatentHoles(
        confidence(images, classifier),
        nearest_distance(images, train),
        confidence(held_out, classifier),
        nearest_distance(held_out, train),
    )


def confidence(images: Tensor, classifier: Classifier) -> Tensor:
    """Compute max_c p(c | image): [n].

    Raises:
        DataError: the classifier gives no probabilities [n, C].
    """
    probabilities = torch.as_tensor(classifier(images))
    fits = probabilities.dim() == 2 and len(probabilities) == len(images)
    if not fits or not ((probabilities.sum(-1) - 1).abs().max() <= 1e-3 and probabilities.min() >= 0):
        raise DataError(
            f"classifier: expected probabilities of shape [{len(images)}, C], got {list(probabilities.shape)}"
        )
    return probabilities.amax(-1)


def nearest_distance(images: Tensor, real: Tensor) -> Tensor:
    """The root mean square distance over pixels to the nearest real image: [n]."""
    flat = real.flatten(1)
    # Distances are of differences of squares, in which a mean far from 0 would leave rounding alone.
    centre = flat.mean(0)
    flat = flat - centre
    chunks = [torch.cdist(batch - centre, flat).amin(1) for batch in images.flatten(1).split(CHUNK)]
    return torch.cat(chunks) / math.sqrt(flat.shape[1])


@renamed(holes="numbers")
def check_latent_holes(numbers: LatentHoles) -> Verdict:
    """Judge the share of draws that fall into holes against that of real images, at 4 standard errors.

    "bad" is said where more than half of the draws are known to, by two standard errors, "doubtful" where fewer.

    "good" is said where the excess is known to be below a tenth of the draws by two standard errors; between the
    two the verdict is "unknown", as it is of a single draw or a single real image, which have no standard error.

    Raises:
        DataError: there are no draws or no real images, or a number is NaN or infinite.
    """
    told = {"confidence": numbers.confidence, "distance": numbers.distance}
    told |= {"real_confidence": numbers.real_confidence, "real_distance": numbers.real_distance}
    for name, values in told.items():
        if not len(values):
            raise DataError(f"holes: expected draws and real images, found none in {name!r}")
        require_finite("holes", name, values.cpu())
    shares, real = numbers.in_hole.double(), numbers.real_in_hole.double()
    excess = (shares.mean() - real.mean()).item()
    error = math.hypot(*(share_stderr(each.mean().item(), len(each)) for each in (shares, real)))
    many = excess > ERRORS * error
    share, spread = shares.mean().item(), _stderr(shares)
    level: Level = "good" if not many else "bad" if share - 2 * spread > 0.5 else "doubtful"
    if min(len(shares), len(real)) < 2 or (not many and excess + 2 * error > FEW):
        level = "unknown"
    words = (
        f"{shares.mean():.0%} of the draws decode to images that a classifier is less sure of, or that lie further "
        f"from the data, than {1 - BEYOND:.0%} of real ones; {real.mean():.0%} of real images do."
    )
    advice = "Decode more draws and more real images." if level == "unknown" else ""
    advice = "Fit a prior to the codes (models.with_post_hoc_prior) or learn it (prior='vamp')." if many else advice
    threshold = f"the share among real images, {ERRORS:g} standard errors"
    return Verdict("holes in the latent space", level, share, spread, "", threshold, words, advice)


def _stderr(values: Tensor) -> float:
    return values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
