"""Names that users import stay where they were."""

import importlib
import json
from pathlib import Path

import pytest

STORED = json.loads((Path(__file__).parent / "stored" / "public_names.json").read_text())


@pytest.mark.parametrize("module", STORED)
def test_no_public_name_is_lost(module):
    """The list was made before the modules were moved into rooms."""
    present = importlib.import_module(module)
    lost = [name for name in STORED[module] if name not in present.__all__ or not hasattr(present, name)]
    assert not lost
