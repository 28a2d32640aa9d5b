"""What ``comparison`` stands on: repeats under chosen noise, the reference, and the verdict on an estimator."""
