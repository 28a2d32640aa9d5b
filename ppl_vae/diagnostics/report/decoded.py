"""The latents of a diagnosis and what the model makes of them: reconstructions, decoded draws, decoded points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.diagnostics.arviz import container
from ppl_vae.diagnostics.arviz.exported import exported_names
from ppl_vae.diagnostics.diagnosis import Diagnosis
from ppl_vae.diagnostics.given import admitted
from ppl_vae.diagnostics.report.chart import Latents
from ppl_vae.diagnostics.topics import Case
from ppl_vae.errors import ModelError
from ppl_vae.inference.evidence.weight_chunks import pass_size
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.joint import log_joint
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.terms import Observation, Terms
from ppl_vae.inference.pair.words import central_of, words_by_place
from ppl_vae.randomness import derived_seed

# The name of this file's stream under a seed.
STREAM = 71
# Draws that are decoded: as many are averaged for a reconstruction, and the first of them are shown.
NUM_AVERAGED, NUM_SHOWN = 8, 4
# Draws of latents where the ArviZ object has none of these data.
NUM_LATENT = 100

Floats = NDArray[np.floating]


class NoMap(ModelError):  # noqa: N818 - it is a reason
    """The reason why there is no map of the data of a diagnosis."""


def case_of(diagnosis: Diagnosis) -> Case:
    """The pair and the data of a diagnosis, as they were then.

    Raises:
        NoMap: the diagnosis does not hold the pair, or the pair has changed since.
    """
    if diagnosis.case is None or diagnosis.fingerprint is None:
        raise NoMap("this diagnosis does not hold its pair; make it by pv.diagnose")
    if not np.allclose(diagnosis.case.fingerprint(), diagnosis.fingerprint, rtol=1e-4, atol=1e-4, equal_nan=True):
        raise NoMap("the pair has changed since it was diagnosed: diagnose it again to look into it")
    return diagnosis.case


def latents_of(diagnosis: Diagnosis, case: Case) -> Latents:
    """Collect the guide's draws of every continuous latent site of the data.

    Raises:
        NoMap: a datum has no continuous latent of its own.
    """
    given = admitted(case.pair, case.rows(), keep_rows=True)
    stored = (
        {} if diagnosis.inference_data is None or case.of_set else container.groups_of(diagnosis.inference_data)
    )
    few = given[: pass_size(given.x, 2)[0]]
    drawn = _local_draws(_terms(few, 2, case.seed))
    if "posterior" in stored and not case.of_set:
        names = exported_names(drawn)
        values = {site: stored["posterior"][names[site]].to_numpy()[0] for site in drawn}
    else:
        values = _drawn(given, case.seed)
    kept = {site: each for site, each in values.items() if each.dtype.kind == "f" and each.size}
    if not kept:
        raise NoMap("no datum has a continuous latent of its own, so that there is no map of codes")
    flat = [each.reshape(*each.shape[:2], -1).astype(np.float64) for each in kept.values()]
    shapes = {site: each.shape[2:] for site, each in kept.items()}
    return Latents(np.concatenate(flat, -1), shapes, len(kept) == len(values))


def _drawn(given: Conditioned, seed: int) -> dict[str, Floats]:
    size = pass_size(given.x, NUM_LATENT)[0]
    parts = [
        _local_draws(_terms(part, NUM_LATENT, derived_seed(seed, k))) for k, part in enumerate(given.split(size))
    ]
    return {site: np.concatenate([part[site] for part in parts], 1) for site in parts[0]}


def _local_draws(terms: Terms) -> dict[str, Floats]:
    return {name: site.value.cpu().numpy() for name, site in terms.sites.items() if site.p is not None}


@torch.no_grad()
def _terms(given: Conditioned, num_particles: int, seed: int) -> Terms:
    with evaluating(*given.programs, seed=derived_seed(seed, STREAM), device=given.x.device):
        return run_terms(*given.programs, given.batch, {}, num_particles, both_levels=True)


def decode_draws(case: Case) -> tuple[Floats, Floats]:
    """Decode draws of the guide: the mean of E[x|z] over them [N, *event], and those that are shown [D, N, *event].

    Raises:
        ModelError: no observed site has the shape of the data, or its mean is not known.
    """
    given = admitted(case.pair, case.rows(), keep_rows=True)
    size = pass_size(given.x, NUM_AVERAGED)[0]
    means, shown = [], []
    for k, part in enumerate(given.split(size)):
        terms = _terms(part, NUM_AVERAGED, derived_seed(case.seed, k))
        decoded = _mean(terms.observations, part.x, given.model)
        each = decoded.expand(NUM_AVERAGED, *part.x.shape).cpu().numpy()
        means.append(_averaged(each, words_by_place(given.model)))
        shown.append(each[:NUM_SHOWN])
    return np.concatenate(means), np.concatenate(shown, 1)


def decode_codes(case: Case, latents: Latents, codes: NDArray[np.float64]) -> Floats:
    """Decode codes [M, U]: E[x|z] [M, *event]. Covariates, if any, are those of the first datum.

    Raises:
        ModelError: some latent of a datum has no place among the codes.
    """
    if not latents.all_continuous:
        raise ModelError("a discrete latent has no place on the map, so that no point of it can be decoded")
    given = admitted(case.pair, case.rows(0, 2), keep_rows=True)
    decoded = []
    for some in np.array_split(codes, max(1, len(codes) // max(1, pass_size(case.x, 1)[0]))):
        first = given[torch.zeros(len(some), dtype=torch.long, device=given.x.device)]
        values = {
            name: torch.as_tensor(part, dtype=given.x.dtype if given.x.is_floating_point() else None)
            .to(given.x.device)
            .unsqueeze(0)
            for name, part in latents.by_site(some).items()
        }
        with torch.no_grad(), evaluating(*first.programs, seed=case.seed, device=first.x.device):
            observations = log_joint(first.model, first.x, values).observations
        decoded.append(_mean(observations, first.x, given.model).expand(1, *first.x.shape)[0].cpu().numpy())
    return np.concatenate(decoded)


def _averaged(draws: Floats, words: Sequence[tuple[str, ...]]) -> Floats:
    """The mean over decoded draws [K, N, *event]; of columns with words the level that most of them have."""
    mean = draws.mean(0)
    for column, levels in enumerate(words):
        if levels:
            counts = (draws[..., column] == np.arange(len(levels))[:, None, None]).sum(1)
            mean[..., column] = counts.argmax(0)
    return mean


def _mean(observations: Mapping[str, Observation], x: Tensor, model: Program) -> Tensor:
    """The mean of the observed site that holds the data; of columns with words the most likely level."""
    for observation in observations.values():
        if not observation.is_data or observation.value.shape[-x.dim() :] != x.shape:
            continue
        try:
            mean = central_of(model, observation.p)
        except NotImplementedError:
            continue
        if bool(mean.isfinite().all()):
            return mean
    raise ModelError("no observed site has the shape of the data and a mean that is known")
