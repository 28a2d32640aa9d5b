"""A trained VAE with another prior that is still to be learned from its codes, and all else held fixed."""

from __future__ import annotations

import copy

from ppl_vae.declared import declared
from ppl_vae.errors import ModelError
from ppl_vae.models.configuration import Spec, own_config
from ppl_vae.models.priors.priors import PRIORS
from ppl_vae.models.priors.priors import prior as make_prior
from ppl_vae.models.protocols import Prior, require_space
from ppl_vae.models.vae import VAE
from ppl_vae.randomness import seeded
from ppl_vae.renamed import by_keyword


@by_keyword("seed")
def with_new_prior(vae: VAE, prior: Spec, *, seed: int = 0) -> VAE:
    """Copy a trained VAE with a new prior; of the copy the prior alone is trained.

    ``pv.fit(twin, x, elbo=inf.SecondStage("monte-carlo-kl", twin.model.prior))`` then learns it from the codes.

    Args:
        vae: a trained model; it is left as it is.
        prior: a name such as "diffusion", a configuration, or a module.
        seed: of the prior's first weights.

    Raises:
        ModelError: the model is defined by its prior, or the new one lives in another space.
    """
    require_exchangeable(vae)
    part = make_prior(prior)
    require_space(vae.guide.posterior, declared(Prior, part).space, vae.latent_dim)
    twin = copy.deepcopy(vae)
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    like = next(vae.parameters())
    with seeded(seed):
        declared(Prior, part).build(vae.latent_dim)
        twin.model.prior = part
        declared(Prior, part).attach(twin.guide, vae.event_shape)
    part.to(like.device, like.dtype)
    twin.remember(prior=own_config(part, PRIORS))
    return twin


def require_exchangeable(vae: VAE) -> None:
    """Refuse a model that is defined by its prior, as the linear-Gaussian one is.

    Raises:
        ModelError: it is one.
    """
    if "prior" not in vae.config:
        raise ModelError(f"a {vae.config['model']!r} model is defined by its prior; it cannot have another")
