"""`--help` shows how it is used, for every verb and act, and is quick to come."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import keyturn
from keyturn.cli.main import VERBS, parser_for


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


ALL = {parser.prog: parser for parser in parsers(parser_for(None))}


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
        "keyturn report mfa",
    }
    assert ALL.keys() == {"keyturn"} | verbs | acts


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


def test_help_loads_no_server_no_database_and_no_client() -> None:
    """It must come at once."""
    program = (
        "import sys\nfrom keyturn.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'apsw', 'boto3', 'botocore', 'uvicorn', 'cryptography', 'asyncio'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
