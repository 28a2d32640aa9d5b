"""The comparison of estimators: repeats under given noise, the reference, and the verdict in words."""
