"""The page of real clients says what the tests prove, with the versions that they run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from acceptance.proofs import COLUMNS, PAGE, STEPS, WALK, page, pinned_versions


def test_the_page_is_the_table_that_the_tests_run_by() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: .venv/bin/python tests/acceptance/proofs.py"


def test_every_step_of_the_page_is_proved_by_a_test() -> None:
    proved: list[str] = []
    for file in Path(__file__).parent.glob("test_*.py"):
        for arguments in re.findall(r"^@proves\((.*?),?\s*\)$", file.read_text(), re.MULTILINE | re.DOTALL):
            proved += WALK if arguments == "*WALK" else list(ast.literal_eval(f"({arguments},)"))
    assert sorted(proved) == sorted(STEPS)


def test_every_column_has_a_version_and_a_step() -> None:
    assert set(pinned_versions()) == set(COLUMNS)
    assert {name for clients in STEPS.values() for name in clients} == set(COLUMNS)
