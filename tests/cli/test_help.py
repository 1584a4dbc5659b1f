"""`--help` shows how it is used, for every verb and act, and is quick to come."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import keyturn
from keyturn.cli.main import VERBS, parser_for
from keyturn.cli.status import Plain


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


ALL = {parser.prog: parser for verb in VERBS for parser in parsers(parser_for(verb))}


def test_every_verb_and_act_is_there() -> None:
    verbs = {f"keyturn {verb}" for verb in VERBS}
    acts = {
        "keyturn account mfa-required",
        "keyturn account show",
        "keyturn admin recover",
        "keyturn audit verify",
        "keyturn key create",
        "keyturn key list",
        "keyturn master-key rotate",
        "keyturn report age",
        "keyturn report cis",
        "keyturn report mfa",
        "keyturn report stale",
        "keyturn sink adopt",
        "keyturn sink list",
        "keyturn sink test",
    }
    assert ALL.keys() == verbs | acts


@pytest.mark.parametrize("name", ALL)
def test_help_shows_an_example_of_itself(name: str, tmp_path: Path) -> None:
    told = keyturn(tmp_path, *name.split()[1:], "--help")
    assert told.code == 0
    assert told.stderr == ""
    _, _, examples = told.stdout.partition("example")
    assert f"  {name}" in examples or f'"$({name}' in examples


@pytest.mark.parametrize("name", ALL)
def test_every_option_says_what_it_is_for_and_none_is_guessed_from_its_beginning(name: str) -> None:
    parser = ALL[name]
    assert not parser.allow_abbrev
    silent = {
        action.option_strings[0]
        for action in parser._actions
        if action.option_strings and not action.help and "--output" not in action.option_strings
    }
    assert silent == set()


def test_the_overview_names_every_verb_and_loads_no_parser(tmp_path: Path) -> None:
    told = keyturn(tmp_path, "--help")
    assert (told.code, told.stderr) == (0, "")
    for verb, summary in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(summary)}$", told.stdout, re.MULTILINE)
    assert keyturn(tmp_path, "help").stdout == told.stdout
    assert keyturn(tmp_path).code == 2


def test_help_names_a_verb_as_its_own_help_does(tmp_path: Path) -> None:
    assert keyturn(tmp_path, "help", "plan").stdout == keyturn(tmp_path, "plan", "--help").stdout
    assert keyturn(tmp_path, "help", "plans").code == 1


def test_status_alone_has_the_options_that_its_parser_would_give() -> None:
    parsed = vars(parser_for("status").parse_args([]))
    del parsed["run"]
    assert {name: getattr(Plain, name) for name in parsed} == parsed


@pytest.mark.parametrize("words", [("--help",), ("status",)])
def test_what_is_asked_often_loads_next_to_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    program = (
        f"import sys\nbefore = set(sys.modules)\nfrom keyturn.cli.main import main\nmain({list(words)!r})\n"
        "heavy = {'argparse', 'typing', 'dataclasses', 'inspect', 'json', 'pathlib', 'datetime', 'tomllib', 'boto3'}\n"
        "print(sorted(heavy & (sys.modules.keys() - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_completion_script_is_one_that_the_shell_reads(tmp_path: Path, shell: str) -> None:
    told = keyturn(tmp_path, "completion", shell)
    assert told.code == 0
    program = (
        f"{told.stdout}\nCOMP_WORDS=(keyturn report st); COMP_CWORD=2; _keyturn; echo ${{COMPREPLY[*]}}\n"
        "COMP_WORDS=(keyturn sta); COMP_CWORD=1; _keyturn; echo ${COMPREPLY[*]}\n"
        "COMP_WORDS=(keyturn report stale --un); COMP_CWORD=3; _keyturn; echo ${COMPREPLY[*]}"
    ).replace("autoload -U +X bashcompinit && bashcompinit", "")
    done = subprocess.run(["bash", "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split("\n") == ["stale", "status", "--unused", ""]


def test_help_loads_no_server_no_database_and_no_client() -> None:
    """It must come at once."""
    program = (
        "import sys\nfrom keyturn.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'apsw', 'boto3', 'botocore', 'uvicorn', 'cryptography', 'asyncio'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
