"""`keyturn VERB` in the test's own process: what it printed, and its exit code. No terminal is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from keyturn.cli.main import main
from living_authority import environment_below


@dataclass(frozen=True, slots=True)
class Told:
    code: int
    stdout: str
    stderr: str


def keyturn(
    home: Path, *arguments: str, environment: Mapping[str, str] | None = None, umask: int = 0o022
) -> Told:
    """Run a verb below `home`, with more variables if need be."""
    stdout, stderr = StringIO(), StringIO()
    variables = {**environment_below(home), "COLUMNS": "100", **(environment or {})}
    before = os.umask(umask)
    try:
        with patch.dict(os.environ, variables, clear=True), redirect_stdout(stdout), redirect_stderr(stderr):
            try:
                code = main(arguments)
            except SystemExit as left:
                code = left.code if isinstance(left.code, int) else 1
    finally:
        os.umask(before)
    return Told(code, stdout.getvalue(), stderr.getvalue())
