"""Real and synthetic data sets as tensors, labels and ground-truth factors."""

from typing import TYPE_CHECKING

from ppl_vae.lazy import load_names_lazily

# One line a name, here and in __all__; each is imported when it is first asked for.
if TYPE_CHECKING:
    from ppl_vae.data.binarization import binarize
    from ppl_vae.data.catalog import list_datasets, load_dataset
    from ppl_vae.data.dataset import Binarization, Dataset, Split
    from ppl_vae.data.factor_groups import FactorGroups, factor_groups
    from ppl_vae.data.fingerprint import fingerprint
    from ppl_vae.data.hidden_labels import hide_labels, repeat_labelled
    from ppl_vae.data.sequences import pad_sequences

__all__ = [
    "Binarization",
    "Dataset",
    "FactorGroups",
    "Split",
    "binarize",
    "factor_groups",
    "fingerprint",
    "hide_labels",
    "list_datasets",
    "load_dataset",
    "pad_sequences",
    "repeat_labelled",
]

load_names_lazily(__name__)
