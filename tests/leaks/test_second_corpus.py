"""The whole way, from files in a directory to lines of JSON, judged by a corpus that another hand wrote."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from keyturn.cli.main import main
from keyturn.leaks import detector
from keyturn.leaks.containers.unpack import Unpacker
from keyturn.leaks.detector import detect
from keyturn.leaks.findings import Kind
from keyturn.leaks.prefilter import shared
from keyturn.leaks.scan import Scan
from keyturn.leaks.sources.directory import DirectorySource
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair
from keyturn.model.secrets import Secret
from leaks.corpus import planted
from leaks.second_corpus import Hiding, decoys, hidings

Found = dict[str, set[str]]


def write(folder: Path, files: list[Hiding]) -> dict[str, Hiding]:
    by_path = {}
    for one in files:
        path = folder / ("hiding" if one.pair else "decoy") / one.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one.content)
        by_path[str(path.relative_to(folder))] = one
    return by_path


def fingerprint(one: Hiding) -> str:
    assert one.pair is not None
    return AccessKeyPair(AccessKeyId(one.pair[0]), Secret(one.pair[1].encode())).fingerprint


def scanned(folder: Path) -> Found:
    """The fingerprints of the pairs in each file."""
    unpacker = Unpacker(shared().has_prefix)
    result = Scan(shared().may_hold, detect, unpacker).run([DirectorySource(str(folder), unpacker)])
    found: Found = defaultdict(set)
    for finding in result.findings:
        if finding.kind is Kind.PAIR and finding.fingerprint is not None:
            found[finding.place.path or ""].add(finding.fingerprint)
    return found


def judge(files: dict[str, Hiding], found: Found) -> tuple[float, float, list[str]]:
    """The part of the pairs that was found, the same of the hardest, and in which files something false was."""
    held = {path: one for path, one in files.items() if one.pair}
    hit = {path for path, one in held.items() if fingerprint(one) in found.get(path, ())}
    hard = {path for path, one in held.items() if one.is_hard}
    false = [one.kind for path, one in files.items() if found.get(path, set()) - expected(one)]
    return len(hit) / len(held), len(hit & hard) / len(hard), false


def expected(one: Hiding) -> set[str]:
    return {fingerprint(one)} if one.pair else set()


@pytest.mark.parametrize("seed", [1, 2])
def test_nearly_every_pair_of_the_second_corpus_is_found_and_no_other(seed: int, tmp_path: Path) -> None:
    files = write(tmp_path, hidings(seed) + decoys(seed))
    recall, hardest, false = judge(files, scanned(tmp_path))
    assert false == []
    assert recall >= 0.98
    assert hardest >= 0.96


@pytest.mark.faults
@pytest.mark.skipif(os.environ.get("KEYTURN_FAULTS") != "long", reason="many seeds take minutes")
def test_other_seeds_are_no_worse(tmp_path: Path) -> None:
    for seed in range(100, 130):
        files = write(tmp_path / str(seed), hidings(seed) + decoys(seed))
        recall, hardest, false = judge(files, scanned(tmp_path / str(seed)))
        assert false == [], seed
        assert recall >= 0.98, seed
        assert hardest >= 0.95, seed


def test_the_command_tells_the_same_in_lines_of_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write(tmp_path, [*hidings(3)[::4], *decoys(3)[::2]])
    assert main(["scan", str(tmp_path), "--output", "jsonl", "--no-state"]) == 3
    found: Found = defaultdict(set)
    for line in capsys.readouterr().out.splitlines():
        row = json.loads(line)
        assert row["kind"] == "pair"
        found[row["path"]].add(row["fingerprint"])
    recall, hardest, false = judge(files, found)
    assert false == []
    assert recall >= 0.95
    assert hardest >= 0.9


def pairs_in(data: bytes) -> set[str]:
    return {str(one.access_key_id) for one in detect(data) if one.secret is not None}


def test_rewriting_only_what_is_close_finds_what_rewriting_all_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [one.content for one in hidings(4)[::2]] + [one.content for one in planted(4)[::5]]
    close = [pairs_in(text) for text in texts]
    monkeypatch.setattr(detector, "_CLOSE", 1 << 30)
    assert [everywhere - near for near, everywhere in zip(close, map(pairs_in, texts), strict=True)] == [
        set() for _ in texts
    ]


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [
        ("settings 1", None),
        ("kubernetes secret twice", "base64+base64"),
        ("encoded powershell", "base64+utf-16le"),
        ("hex", "hex"),
        ("xxd", "hex"),
        ("java bytes", "decimal"),
        ("url with a user", "url"),
        ("url twice", "url+url"),
        ("html entities all", "html"),
        ("unicode escapes", "unicode-escape"),
        ("hex escapes in c", "hex-escape"),
        ("quoted-printable mail", "quoted-printable"),
        ("concatenation 1", "concatenation"),
        ("concatenation, chr() of each", "decimal+concatenation"),
        ("patch 5", "patch+concatenation"),
        ("wrapped id", "wrapped"),
        ("rtf runs", "rtf"),
        ("utf-32", "utf-32"),
    ],
)
def test_a_detection_says_how_the_key_was_written(kind: str, encoding: str | None) -> None:
    (one,) = [each for each in hidings(1) if each.kind == kind]
    assert one.pair is not None
    assert [each.encoding for each in detect(one.content) if each.access_key_id == one.pair[0]] == [encoding]
