"""`make demo`, as it stands at the top of the README."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from acceptance.real_clients import AWS_V1, ROOT, missing
from acceptance.served import run


@pytest.mark.skipif(missing("aws v1") is not None, reason=str(missing("aws v1")))
def test_make_demo_rotates_a_key_under_load_without_a_failed_call() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "python demo/rotate_under_load.py --aws .venv-aws/bin/aws" in makefile
    environment = {name: os.environ[name] for name in ("HOME", "PATH")}
    demo = run(sys.executable, ROOT / "demo/rotate_under_load.py", "--aws", AWS_V1, env=environment)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    *timeline, last = demo.stdout.splitlines()

    assert re.fullmatch(r"\d+ calls, 0 failed", last)
    told = "\n".join(timeline)
    first = re.search(r"user ci-deploy-bot has its first key, (AKIA[A-Z2-7]{16})", told)
    second = re.search(r"1 created the second key, (AKIA[A-Z2-7]{16})", told)
    assert first
    assert second
    assert first[1] != second[1]
    steps = re.findall(
        r"^ *[\d.]+ s  (\d) (created|switched|deactivated|the old key|deleted)", told, re.MULTILINE
    )
    assert [step for step, _ in steps] == ["1", "2", "3", "4", "5"]
    assert re.search(r"4 the old key was last used \S+; it stays so", told)
    refusals = re.findall(r"refused: An error occurred \((\w+)\) when calling the GetCallerIdentity", told)
    assert refusals == ["InvalidClientTokenId"] * 2
    signed = re.search(r"(\d+) calls were signed with the old key, (\d+) with the new one", told)
    assert signed
    assert min(int(signed[1]), int(signed[2])) > 0
    assert int(signed[1]) + int(signed[2]) == int(last.split()[0])


def test_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    """A demo that can't start its `aws` ends at once, and takes its authority and its files with it."""
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    demo = run(
        sys.executable, ROOT / "demo/rotate_under_load.py", "--aws", tmp_path / "no-aws", env=environment
    )
    assert demo.returncode != 0
    assert list(tmp_path.iterdir()) == []
