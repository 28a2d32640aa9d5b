"""The verdict on the two ends of a bracket on log p(x): narrow, wide, unknown, or crossed.

Grosse, Ghahramani & Adams 2015, https://arxiv.org/abs/1511.02543.
"""

from __future__ import annotations

import math

from ppl_vae.diagnostics.evidence.evidence import AGREEMENT, APART
from ppl_vae.diagnostics.verdict import ERRORS, Verdict, level_of, require_finite
from ppl_vae.errors import DataError
from ppl_vae.inference.evidence.bidirectional import EvidenceBracket

# So many standard errors below zero the gap is no accident: one false alarm in 700.
CROSSED = 3.0


def check_bracket(bracket: EvidenceBracket) -> Verdict:
    """Judge how far the two ends of ``bidirectional_evidence`` are apart.

    The lower end is below the upper one in expectation, whatever the model is and however short the walk, if the
    chains leave invariant what they should.

    Returns:
        The figure is the mean gap with its error over data and chains. "good" where it is known to be at most 0.1
        nats, "doubtful" where it is known to be more and "bad" where it is known to be above 0.5, or below zero by
        three standard errors: then the chains are broken and no number of theirs means anything. "unknown" where
        the error is too wide to say, as it is of one datum.

    Raises:
        DataError: the bracket is of no data, or an end is NaN or infinite.
    """
    if not len(bracket.lower):
        raise DataError("bracket: expected at least one datum, found none")
    for name, end in (("lower", bracket.lower), ("upper", bracket.upper)):
        require_finite("bracket", name, end.cpu())
    gap, error = bracket.gap, bracket.gap_stderr
    level = level_of(gap, error, AGREEMENT, APART)
    count = len(bracket.lower)
    known = "with an error that is not known" if math.isnan(error) else f"± {error:.2g}"
    words = f"On {count} simulated data the upper end is {gap:.2f} {known} nats above the lower one"
    advice = {
        "good": "",
        "unknown": "Take more data, or more chains and temperatures: the error is too wide for a verdict.",
    }.get(level, "Anneal with more temperatures; data of the model need not be as hard as real ones.")
    if gap < -CROSSED * error:
        level = "bad"
        words = f"On {count} simulated data the lower end is {-gap:.2f} {known} nats ABOVE the upper one"
        advice = (
            "The chains leave something else invariant than the posterior: look for a latent site whose density "
            "jumps, is no density, or is not the one that it is drawn from."
        )
    threshold = f"0 <= gap <= {AGREEMENT:g} nats good, above {APART:g} bad, by {ERRORS:g} standard errors"
    return Verdict("Bracket on log p(x)", level, gap, error, "nats per datum", threshold, f"{words}.", advice)
