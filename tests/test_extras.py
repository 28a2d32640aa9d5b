"""Libraries that may be missing: what is missing and what is broken are told apart."""

import pytest

from ppl_vae.errors import CheckpointError, ModelError
from ppl_vae.extras import imported


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('raise ImportError("fragile requires NumPy 2.0 or newer\\nand more")', "requires NumPy 2.0 or newer"),
        ("import no_such_library_of_its_own", "No module named 'no_such_library_of_its_own'"),
        ("import numpy; numpy.no_such_name", "module 'numpy' has no attribute 'no_such_name'"),
    ],
)
def test_what_is_installed_and_broken_has_its_own_words(tmp_path, monkeypatch, content, words):
    (tmp_path / "fragile.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"^drawing needs fragile, which is installed and cannot be") as told:
        imported("fragile", "drawing", "fragile")
    assert words in str(told.value)
    assert "pip install" not in str(told.value)
    assert "and more" not in str(told.value)


@pytest.mark.parametrize("library", ["no_such_library", "no_such_library.part"])
def test_what_is_not_installed_is_named_with_its_remedy(library):
    with pytest.raises(CheckpointError, match=r"^drawing needs no_such_library: pip install 'ppl_vae\[art\]'$"):
        imported(library, "drawing", "'ppl_vae[art]'", CheckpointError)


def test_what_is_there_is_given():
    assert imported("json", "drawing", "json").dumps([1]) == "[1]"
