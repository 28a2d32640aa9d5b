"""The functions ``fit`` and ``fit_many``: training of one pair, and of several at once."""
