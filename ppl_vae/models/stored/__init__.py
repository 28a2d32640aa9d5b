"""Models on disk: what is written, and what is built from it again."""
