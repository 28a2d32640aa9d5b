"""VAEs of several modalities, any of which may be missing."""
