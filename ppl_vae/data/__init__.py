"""Real and synthetic data sets as tensors, labels and ground-truth factors."""

from ppl_vae.data.binarization import binarize
from ppl_vae.data.catalog import list_datasets, load_dataset
from ppl_vae.data.dataset import Binarization, Dataset, Split
from ppl_vae.data.fingerprint import fingerprint

__all__ = ["Binarization", "Dataset", "Split", "binarize", "fingerprint", "list_datasets", "load_dataset"]
