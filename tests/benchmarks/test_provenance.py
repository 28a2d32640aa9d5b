"""No record is older than the code that it measures without saying so."""

import re
from pathlib import Path

import pytest

from benchmarks import provenance

README = (provenance.ROOT / "README.md").read_text()
ADVICE = "`make records` says it; `benchmarks/provenance.py --made RECORD` where it was just made anew"


def test_every_record_says_how_it_was_made_and_its_files_are_there():
    assert set(provenance.stored()) == set(provenance.records()), ADVICE
    for record in provenance.records():
        for name in provenance.made_by(record).all_files:
            assert (provenance.ROOT / name).exists(), (record, name)


@pytest.mark.parametrize("record", provenance.records())
def test_a_record_older_than_its_code_says_so(record):
    entry = provenance.stored()[record]
    assert bool(entry["stale"]) == bool(provenance.changed(record, entry)), f"{record}: {ADVICE}"


def test_the_readme_names_the_records_that_it_quotes_and_are_stale():
    assert provenance.with_notice(README, provenance.stored()) == README, ADVICE


def test_every_table_of_measured_figures_has_its_command_and_its_record():
    measured = README.partition("## Measured\n")[2].partition("\n## ")[0]
    tables = len(re.findall(r"^\|---", measured, re.MULTILINE))
    made = re.findall(r"^Made by `(.+?)`: \[.+?\]\((benchmarks/results/[^)]+)\)", measured, re.MULTILINE)
    assert len(made) == tables > 0
    for command, path in made:
        assert (provenance.ROOT / path).exists(), path
        assert command.split()[1].startswith(provenance.made_by(Path(path).name).command.split()[1])


def test_words_do_not_change_a_fingerprint_and_code_does():
    source = 'def f(x):\n    """Words."""\n    # why\n    return x + 1\n'
    other = 'def f(x):\n    """Other words,\n    of two lines.\n    """\n\n    return x + 1\n'
    assert provenance.fingerprint([("a", source)]) == provenance.fingerprint([("a", other)])
    assert provenance.fingerprint([("a", source)]) != provenance.fingerprint([("a", source.replace("1", "2"))])
    assert provenance.fingerprint([("a", source)]) != provenance.fingerprint([("b", source)])
