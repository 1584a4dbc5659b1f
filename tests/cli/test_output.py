"""The same rows for people and for programs, and nothing in them that a terminal or a spreadsheet would obey."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.cli.key_rows import duration
from keyturn.cli.output import CHOICES, Cell, Column, plain, shortened, show

COLUMNS = (
    Column("User", "user"),
    Column("Key", "key"),
    Column("Created", "created", is_wide=True),
    Column("Sinks", "sinks", is_for_programs=True),
)
KEY = "AKIAIOSFODNN7EXAMPLE"


def row(user: str = "ana", sinks: list[str] | None = None) -> dict[str, Cell]:
    return {
        "user": Cell(user),
        "key": Cell(KEY, short=shortened(KEY)),
        "created": Cell(12, "12 d"),
        "sinks": Cell(sinks or []),
    }


def shown(output: str, *rows: dict[str, Cell]) -> str:
    with redirect_stdout(StringIO()) as stdout:
        show(COLUMNS, rows, output, id_column="key")
    return stdout.getvalue()


def test_a_table_shortens_ids_and_wide_has_them_whole() -> None:
    assert shown("table", row()) == "User  Key\nana   AKIA…MPLE\n"
    assert shown("wide", row()) == f"User  Key                   Created\nana   {KEY}  12 d\n"


def test_programs_get_whole_values() -> None:
    whole = {"user": "ana", "key": KEY, "created": 12, "sinks": ["a", "b"]}
    rows = (row(sinks=["a", "b"]), row(sinks=["a", "b"]))
    assert json.loads(shown("json", *rows)) == [whole, whole]
    assert [json.loads(line) for line in shown("jsonl", *rows).splitlines()] == [whole, whole]
    assert shown("csv", rows[0]) == f"user,key,created,sinks\nana,{KEY},12,a;b\n"
    assert shown("id", *rows) == f"{KEY}\n", "each once"


@pytest.mark.parametrize(("output", "nothing"), [("table", ""), ("json", "[]\n"), ("jsonl", ""), ("id", "")])
def test_no_rows_are_nothing_and_in_json_an_empty_array(output: str, nothing: str) -> None:
    assert shown(output) == nothing


@given(st.text(), st.sampled_from(CHOICES))
def test_no_user_name_writes_a_control_character(name: str, output: str) -> None:
    told = shown(output, row(name))
    assert all(letter.isprintable() or letter == "\n" for letter in told)


@given(st.text(alphabet=st.sampled_from('=+-@",;\r\n\t a'), max_size=8))
def test_no_user_name_is_a_formula_in_a_spreadsheet(name: str) -> None:
    (told,) = list(csv.DictReader(StringIO(shown("csv", row(name)))))
    assert not told["user"].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert told["key"] == KEY


def test_what_moves_a_cursor_is_told_as_question_marks() -> None:
    assert plain("a\x1b[2Jb\u202ec") == "a?[2Jb?c"


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("90d", 7_776_000_000), ("12h", 43_200_000), ("30m", 1_800_000), ("0s", 0)]
)
def test_durations_are_read(text: str, milliseconds: int) -> None:
    assert duration(text) == milliseconds


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5d", "999999d", "１d", "90d\n"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="is no duration"):
        duration(text)


@pytest.fixture
def loaded() -> Callable[[str], str]:
    def of(verb: str) -> str:
        program = (
            f"import sys\nfrom keyturn.cli.main import main\ntry: main(['{verb}', '--help'])\nexcept SystemExit: pass\n"
            "print(sorted({'boto3', 'botocore', 'urllib3', 'keyturn.rotation'} & sys.modules.keys()))"
        )
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        return done.stdout.splitlines()[-1]

    return of


@pytest.mark.parametrize("verb", ["keys", "why", "doctor", "report"])
def test_the_help_of_a_verb_that_calls_out_loads_no_client(verb: str, loaded: Callable[[str], str]) -> None:
    assert loaded(verb) == "[]"
