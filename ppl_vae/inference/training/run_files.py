"""The names of the files in the folder of a run."""

CHECKPOINT = "checkpoint.safetensors"
MANIFEST, HISTORY, WEIGHTS = "manifest.json", "history.csv", "weights.safetensors"
CONFIG = "config.json"
OWN_FILES = (CHECKPOINT, MANIFEST, HISTORY, WEIGHTS, CONFIG)
