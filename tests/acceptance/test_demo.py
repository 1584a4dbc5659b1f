"""`make demo`, as it stands at the top of the README, and the same procedure on an endpoint that is not ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from acceptance.real_clients import AWS_V1, ROOT, missing

MOTO = ROOT / ".venv-servers/bin/moto_server"
SECRET = re.compile(r"(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])")
SVG = "{http://www.w3.org/2000/svg}"

needs_aws = pytest.mark.skipif(missing("aws v1") is not None, reason=str(missing("aws v1")))


def run_demo(name: str, *words: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "TMPDIR": str(home)}
    return subprocess.run(
        [sys.executable, ROOT / "demo" / name, *words],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=280,
    )


@needs_aws
def test_make_demo_rotates_a_key_through_the_engine_without_a_failed_call(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "python demo/rotate_under_load.py --aws .venv-aws/bin/aws" in makefile
    picture = tmp_path / "picture.svg"
    demo = run_demo("rotate_under_load.py", "--aws", AWS_V1, "--svg", picture, home=tmp_path)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    *timeline, last = demo.stdout.splitlines()
    told = "\n".join(timeline)

    ended = re.fullmatch(r"(\d+) calls, 0 failed", last)
    assert ended
    assert int(ended[1]) >= 2_000
    first = re.search(r"user ci-deploy-bot has its first key, (AKIA[A-Z2-7]{16})", told)
    second = re.search(r"1 created the second key, (AKIA[A-Z2-7]{16})", told)
    assert first
    assert second
    assert first[1] != second[1]
    steps = re.findall(
        r"^ *[\d.]+ s  (\d) (?:created|switched|deactivated|the old key|deleted)", told, re.MULTILINE
    )
    assert steps == ["1", "2", "3", "4", "5"]
    assert "4 boto3 processes sign calls with it" in told
    assert f"a session of {first[1]} runs until" in told, "the gate waits for the session"
    assert "may be deleted, and that can't be undone: keyturn resume" in told.replace("\n", " ")
    assert re.search(r"4 the old key was last used \S+; it stays so", told)
    refusals = re.findall(r"refused: An error occurred \((\w+)\) when calling the GetCallerIdentity", told)
    assert refusals == ["InvalidClientTokenId"] * 2
    assert re.search(rf"done: ci-deploy-bot {first[1]} -> {second[1]}", told)
    by_key = re.search(r"(\d+) calls were signed with the old key, (\d+) with the new one", told)
    assert by_key
    assert min(int(by_key[1]), int(by_key[2])) > 0
    assert int(by_key[1]) + int(by_key[2]) == int(ended[1])
    assert re.search(r"old key  [▁▂▃▄▅▆▇█ ]+  \d+", told)
    assert re.search(r"new key  [▁▂▃▄▅▆▇█ ]+  \d+", told)
    assert not SECRET.search(demo.stdout + demo.stderr)
    assert f"the same as a picture: {picture}" in told
    check_picture(picture, first[1], second[1])
    assert [each.name for each in tmp_path.iterdir()] == ["picture.svg"], "nothing else is left behind"


def check_picture(picture: Path, old: str, new: str) -> None:
    """Both curves, which cross over: the one ends at nothing, the other begins there."""
    root = ET.parse(picture).getroot()  # noqa: S314 - our own file
    curves = {
        line.attrib["id"]: [float(point.split(",")[1]) for point in line.attrib["points"].split()]
        for line in root.iter(f"{SVG}polyline")
    }
    assert curves.keys() == {"old", "new"}
    nothing = max(max(heights) for heights in curves.values())
    assert curves["new"][0] == nothing
    assert curves["old"][-2] == nothing
    assert min(curves["old"]) < nothing
    assert min(curves["new"]) < nothing
    words = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
    assert old in words
    assert new in words
    assert "3 deactivated" in words


@needs_aws
@pytest.mark.skipif(not MOTO.exists(), reason="moto's server is not there: `make clients`")
def test_the_same_procedure_goes_as_far_as_minutes_go_where_the_rules_of_aws_hold(tmp_path: Path) -> None:
    demo = run_demo("rotate_elsewhere.py", "--aws", AWS_V1, "--moto", MOTO, home=tmp_path)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    *timeline, last = demo.stdout.splitlines()
    told = "\n".join(timeline)
    assert last == "plan, create, prove, deliver, wait and rollback done"
    assert re.search(r"3 times in at least \d+ s", told), "and not once, as where revocation is exact"
    delivered = re.search(r"the sinks hold (AKIA\w{16}), and the old key (AKIA\w{16}) still signs", told)
    assert delivered
    assert f"the sinks hold {delivered[2]} again" in told
    assert re.search(r"the (old|new) key must be quiet until", told)
    assert not SECRET.search(demo.stdout + demo.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_can_not_start_leaves_nothing_behind(tmp_path: Path) -> None:
    """It ends at once without its `aws`, and takes its authority and its files with it."""
    demo = run_demo("rotate_under_load.py", "--aws", tmp_path / "no-aws", home=tmp_path)
    assert demo.returncode != 0
    assert list(tmp_path.iterdir()) == []
