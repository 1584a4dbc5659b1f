"""Real source code yields nothing false. The whole of it is scanned by `benchmarks/real_sources.py`; here, some of it."""

from __future__ import annotations

import json
import os
from itertools import islice
from pathlib import Path

from command_line import keyturn
from real_git import Repository

FILES = 400


def test_the_standard_library_as_a_history_has_no_pair(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    sources = sorted(Path(os.__file__).parent.rglob("*.py"))
    assert len(sources) > FILES
    for number, path in enumerate(islice(sources, 0, None, len(sources) // FILES)):
        repository.write(f"{number}.py", path.read_bytes())
    repository.commit("the standard library")
    repository.pack()
    told = keyturn(tmp_path / "home", "scan", f"git:{repository.path}", "--output", "jsonl", "--no-state")
    rows = [json.loads(line) for line in told.stdout.splitlines()]
    assert [row for row in rows if row["verdict"] not in {"documentation", "placeholder"}] == []
    assert told.code == 0, told.stderr
