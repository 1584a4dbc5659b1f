"""The same findings, told four ways: nothing of a secret in any of them, nothing that acts upon whoever reads it.

sarif-schema-2.1.0.json is OASIS's own schema, as the schemastore package (0.2.3, Apache-2.0) carries it.
"""

from __future__ import annotations

import csv as library
import json
from io import StringIO
from pathlib import Path
from random import Random

import jsonschema  # type: ignore[import-untyped]  # its stubs are not among the test requirements
import pytest

from keyturn.leaks.findings import Finding, Kind, Place, Skipped, Verdict
from keyturn.leaks.reports.csv import csv
from keyturn.leaks.reports.interface import FIELDS
from keyturn.leaks.reports.jsonl import jsonl
from keyturn.leaks.reports.sarif import sarif
from keyturn.leaks.reports.table import size, summary, table
from keyturn.leaks.scan import ScanResult
from keyturn.model.access_keys import AccessKeyPair, account_of
from leaks.archive_corpus import ACCOUNT, new_key

SCHEMA = json.loads((Path(__file__).parent / "sarif-schema-2.1.0.json").read_text())
KEY = new_key(Random(21))  # noqa: S311 - it seeds a corpus
PAIR = AccessKeyPair(KEY.access_key_id, KEY.secret)


def finding(
    place: Place, kind: Kind = Kind.PAIR, line: int | None = 7, verdict: Verdict = Verdict.UNVERIFIED
) -> Finding:
    return Finding(
        kind=kind,
        access_key_id=KEY.access_key_id,
        account_id=account_of(KEY.access_key_id),
        fingerprint=PAIR.fingerprint if kind is Kind.PAIR else None,
        place=place,
        line=line,
        encoding="base64",
        verdict=verdict,
        pair=PAIR if kind is Kind.PAIR else None,
    )


HOSTILE = "a\n\x1b[31m\u202egnp.exe\u2028=cmd|' /C calc'!A0"


def result(*findings: Finding, skipped: tuple[Skipped, ...] = ()) -> ScanResult:
    return ScanResult(
        findings=findings,
        skipped=skipped,
        skipped_in_all=len(skipped),
        searched=12_345_678,
        pieces=3,
        ids=sum(each.kind is Kind.ID for each in findings),
        allowed=1,
        accepted=2,
        ours=frozenset({ACCOUNT}),
    )


EVERYTHING = result(
    finding(
        Place("repo", "0" * 40, "1" * 40, "Ana <ana@example.com>", "2026-01-31T10:00:00Z", "src/app.env"),
    ),
    finding(Place("repo", path="lib/app.jar", member="x.zip!/conf/app.env"), line=None),
    finding(Place("image", object="sha256:ab", layer="sha256:cd", path="root/ä b#.env"), Kind.ID),
    finding(Place("-"), verdict=Verdict.DOCUMENTATION),
    finding(Place(HOSTILE, author=HOSTILE, path=HOSTILE, member=HOSTILE)),
    skipped=(Skipped(Place("repo", path=HOSTILE), f"it is damaged: {HOSTILE}"),),
)
REPORTS = {"jsonl": jsonl, "sarif": sarif, "csv": csv, "table": table}


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_no_report_shows_anything_of_a_secret(report: object) -> None:
    assert callable(report)
    text = report(EVERYTHING) + "\n".join(summary(EVERYTHING))
    secret = KEY.secret.reveal().decode()
    assert KEY.access_key_id in text
    assert not [at for at in range(33) if secret[at : at + 8] in text]


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_no_report_has_characters_that_act_upon_a_terminal(report: object) -> None:
    assert callable(report)
    text = report(EVERYTHING) + "\n".join(summary(EVERYTHING))
    assert {each for each in text if not each.isprintable()} <= {"\n"}


def test_jsonl_is_one_object_a_line_with_every_field_of_the_contract() -> None:
    rows = [json.loads(line) for line in jsonl(EVERYTHING).splitlines()]
    assert len(rows) == 5
    assert all(tuple(row) == FIELDS for row in rows)
    assert rows[0] == {
        "kind": "pair",
        "access_key_id": KEY.access_key_id,
        "account_id": ACCOUNT,
        "fingerprint": PAIR.fingerprint,
        "source": "repo",
        "object": "0" * 40,
        "commit": "1" * 40,
        "author": "Ana <ana@example.com>",
        "date": "2026-01-31T10:00:00Z",
        "path": "src/app.env",
        "line": 7,
        "layer": None,
        "member": None,
        "encoding": "base64",
        "verdict": "unverified",
    }
    assert rows[2]["kind"] == "id"
    assert rows[2]["fingerprint"] is None
    assert rows[4]["path"] == HOSTILE
    assert jsonl(result()) == ""


@pytest.mark.parametrize("told", [EVERYTHING, result()], ids=["everything", "nothing"])
def test_sarif_is_what_its_schema_says(told: ScanResult) -> None:
    jsonschema.validate(json.loads(sarif(told)), SCHEMA)


def test_sarif_says_where_how_bad_and_what_was_skipped() -> None:
    run = json.loads(sarif(EVERYTHING))["runs"][0]
    first, nested, id_, documentation, _ = run["results"]
    assert first["ruleId"] == "leaked-access-key"
    assert first["level"] == "error"
    assert first["fingerprints"] == {"idAndSecret/v1": PAIR.fingerprint}
    place = first["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "src/app.env"}, "region": {"startLine": 7}}
    assert "region" not in nested["locations"][0]["physicalLocation"]
    assert id_["level"] == documentation["level"] == "note"
    assert id_["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "root/%C3%A4%20b%23.env"
    assert run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"].startswith(
        "skipped a\\n"
    )


def test_csv_has_the_same_columns_and_no_cell_that_a_spreadsheet_would_work_out() -> None:
    formula = finding(Place("=1+1", author="+cmd", path="@SUM(A1)", member="-2", commit="\t=3"))
    header, row = library.reader(StringIO(csv(result(formula))))
    assert tuple(header) == FIELDS
    assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert row[FIELDS.index("path")] == "'@SUM(A1)"
    assert len(list(library.reader(StringIO(csv(EVERYTHING))))) == 6


def test_the_table_says_where_since_when_and_whose() -> None:
    lines = table(EVERYTHING).splitlines()
    assert len(lines) == 6
    assert f"{ACCOUNT} (ours)" in lines[1]
    assert "src/app.env:7" in lines[1]
    assert "111111111111 2026-01-31T10:00:00Z Ana <ana@example.com>" in lines[1]
    assert "lib/app.jar!/x.zip!/conf/app.env" in lines[2]
    assert table(result()) == ""


def test_colour_is_only_for_a_terminal() -> None:
    assert "\x1b" not in table(EVERYTHING)
    assert table(EVERYTHING, is_coloured=True).count("\x1b[31m") == 3


def test_the_summary_counts_and_says_what_was_left_out() -> None:
    assert summary(EVERYTHING)[:4] == [
        "4 leaked pairs, 1 id alone; 12.3 MB searched",
        "1 left out because of a comment beside them",
        "2 left out because the baseline knows them",
        "not looked into: 1",
    ]


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (5 * 10**15, "5000.0 TB")]
)
def test_sizes_are_told_as_people_tell_them(count: int, told: str) -> None:
    assert size(count) == told
