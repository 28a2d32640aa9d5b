"""The generations of ArviZ that can be tested here: the older one only where it is installed."""

from importlib import metadata, util

import pytest

from ppl_vae.diagnostics.arviz.container import CLASSIC, TREE

IS_CLASSIC = metadata.version("arviz").startswith("0.")
needs_classic = pytest.mark.skipif(not IS_CLASSIC, reason="ArviZ 1.x is installed, which has no InferenceData")
needs_tree = pytest.mark.skipif(util.find_spec("arviz_stats") is None, reason="ArviZ 1.x is not installed")
PARAMETERS = [
    pytest.param(CLASSIC, id="0.x", marks=needs_classic),
    pytest.param(TREE, id="1.x", marks=needs_tree),
]
both_generations = pytest.mark.parametrize("generation", PARAMETERS)
