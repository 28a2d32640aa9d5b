"""Models on the Hugging Face Hub: pushed with a card of their run and diagnosis, loaded without pickle."""

from typing import TYPE_CHECKING

from ppl_vae.lazy import load_names_lazily

# One line a name, here and in __all__; each is imported when it is first asked for.
if TYPE_CHECKING:
    from ppl_vae.hub.card import model_card
    from ppl_vae.hub.transfer import from_hub, push_to_hub

__all__ = ["from_hub", "model_card", "push_to_hub"]

load_names_lazily(__name__)
