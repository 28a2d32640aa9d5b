"""What --help says an option takes, the option takes: every word of it is typed in and read back."""

import contextlib
import functools
import importlib
import re

import pytest
import typer
from typer.testing import CliRunner

import ppl_vae as pv
from ppl_vae.cli import main
from ppl_vae.cli.app import app, loaded
from ppl_vae.cli.commands import COMMANDS
from ppl_vae.cli.overview import FIRST_STEPS, overview
from ppl_vae.cli.overview import OPTIONS as OPTIONS_LISTED

PROGRAM = {name: loaded(name) for name in COMMANDS}
OPTIONS = [
    (name, parameter)
    for name, command in PROGRAM.items()
    for parameter in command.params
    if parameter.opts[0].startswith("-") and parameter.name != "help"
]
# What the words of a metavar stand for.
WORDS = {
    "INTEGER": [("3", 3)],
    "int": [("3", 3)],
    "NUMBER": [("0.5", 0.5), ("2", 2.0)],
    "float": [("0.5", 0.5)],
    "FRACTION": [("0.25", "0.25")],
    "KEY=VALUE": [("beta=4", ["beta=4"])],
    "TOPIC": [("local_c2st", ["local_c2st"])],
    "None": [("None", None)],
    "NAME": [("some-name", "some-name")],
    "NAME_OR_FILE": [("some.npz", "some.npz")],
    "JSON": [('{"name": "mlp"}', '{"name": "mlp"}')],
    "A,B,C": [("iwae,dreg", "iwae,dreg")],
    "DIR": [("some/folder", "some/folder")],
    "FILE": [("some/file", "some/file")],
    # Read as soon as it is typed: tests/cli/test_configuration.py has real ones.
    "CONFIG": [],
    "str": [("some-text", "some-text")],
}


@functools.cache
def rows(name):
    """The word that --help of a command shows beside every option."""
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).output
    return dict(re.findall(r"│\s+(--[\w-]+)\s+(?:-\w\s+)?(\S+)", shown))


def told(name, flag):
    """The words with which --help says what the option takes, and what each is read as."""
    for word in rows(name)[flag].strip("<>").split("|"):
        yield from WORDS.get(word, [(word, word)])


def read(name, *typed):
    command = PROGRAM[name]
    required = ["x" for p in command.params if not p.opts[0].startswith("-") and p.required]
    return command.make_context(name, [*typed, *required]).params


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=lambda value: getattr(value, "name", value))
def test_every_option_takes_what_its_help_says(name, option):
    for flag in option.opts:
        if option.is_flag:
            assert read(name, flag)[option.name] is True
            continue
        if option.nargs == 2:
            assert read(name, flag, "-2", "2")[option.name] == (-2.0, 2.0)
            continue
        for typed, expected in told(name, option.opts[0]):
            value = read(name, flag, typed)[option.name]
            # A list, and of typer 0.27 a tuple.
            value = list(value) if isinstance(value, tuple) else getattr(value, "value", value)
            assert value == expected or str(value) == expected, (flag, typed, value)


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=lambda value: getattr(value, "name", value))
def test_the_default_that_is_shown_is_what_the_option_takes(name, option):
    shown = option.show_default if isinstance(option.show_default, str) else None
    if shown and re.fullmatch(r"[\d.]+", shown):
        assert read(name, option.opts[0], shown)[option.name] == float(shown)
    elif option.default not in (None, False, ()) and not option.is_flag and not callable(option.default):
        typed = str(getattr(option.default, "value", option.default))
        assert read(name, option.opts[0], typed)[option.name] == option.default


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=lambda value: getattr(value, "name", value))
def test_an_option_that_may_be_left_out_takes_none(name, option):
    """As Python writes it: fit(patience=None) is fit() without patience."""
    if option.default is None and not option.is_flag and option.nargs == 1 and not option.multiple:
        assert read(name, option.opts[0], "None")[option.name] is None


@pytest.mark.parametrize("typed", ["x", "1.5", "none"])
def test_other_words_are_refused_with_what_is_taken(typed):
    found = CliRunner().invoke(app, ["train", "vae", "--epochs", typed])
    assert found.exit_code == 2
    assert "is not a valid integer, nor None" in " ".join(found.output.replace("│", " ").split())


def test_the_version_is_told():
    found = CliRunner().invoke(app, ["--version"])
    assert found.exit_code == 0
    assert found.output == f"ppl-vae {pv.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_the_command_says(name):
    module = importlib.import_module(f"ppl_vae.cli.{COMMANDS[name].module}")
    function = getattr(module, name.replace("-", "_"))
    assert COMMANDS[name].summary == function.__doc__.splitlines()[0]
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output
    assert " ".join(COMMANDS[name].summary.split()[:3]) in shown


def test_the_list_is_the_same_with_typer_and_names_every_option(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    listed = capsys.readouterr().out
    assert CliRunner().invoke(app, ["--help"]).output == listed
    assert max(map(len, listed.splitlines())) < 80
    group = typer.main.get_command(app)
    named = [flag for option in group.get_params(group.make_context("ppl-vae", ["cache"])) for flag in option.opts]
    assert sorted(named) == sorted(flag for flags in OPTIONS_LISTED for flag in flags.split(", "))


@pytest.mark.parametrize("columns", ["1", "40", "400"])
def test_the_list_fits_terminals_that_are_narrow_and_wide(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    assert max(map(len, overview().splitlines())) < (100 if columns == "400" else 64)


@pytest.mark.parametrize("line", FIRST_STEPS)
def test_the_first_steps_are_taken_by_their_commands(line):
    program, name, *typed = line.split()
    assert program == "ppl-vae"
    # --help ends the program, as is its way.
    with contextlib.suppress(typer.Exit):
        assert PROGRAM[name].make_context(name, typed).params
