"""SARIF 2.1.0 for code scanning services. What was skipped is told as notifications of the run."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote

from keyturn.leaks.findings import Finding, Kind, Verdict
from keyturn.leaks.reports.interface import row_of, where
from keyturn.leaks.scan import ScanResult

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_RULES: Final = {
    Kind.PAIR: (
        "leaked-access-key",
        "An access key id and its secret stand where others may read them.",
        "Deactivate the key first, then replace it. Deleting the text is not enough: it was readable.",
    ),
    Kind.ID: (
        "exposed-access-key-id",
        "An access key id stands here without its secret.",
        "An id alone opens nothing. See whether its secret stands elsewhere.",
    ),
}
_HARMLESS: Final = (Verdict.PLACEHOLDER, Verdict.DOCUMENTATION, Verdict.INACTIVE)


def sarif(result: ScanResult) -> str:
    rules = [
        {
            "id": name,
            "shortDescription": {"text": short},
            "help": {"text": help_},
            "defaultConfiguration": {"level": "error" if kind is Kind.PAIR else "note"},
            "properties": {"tags": ["security"], "security-severity": "9.0" if kind is Kind.PAIR else "2.0"},
        }
        for kind, (name, short, help_) in _RULES.items()
    ]
    invocation = {
        "executionSuccessful": True,
        "toolExecutionNotifications": [
            {"level": "warning", "message": {"text": f"skipped {where(each.place)}: {each.reason}"}}
            for each in result.skipped
        ],
    }
    run = {
        "tool": {"driver": {"name": "keyturn", "rules": rules}},
        "invocations": [invocation],
        "results": [_result(finding) for finding in result.findings],
        "columnKind": "unicodeCodePoints",
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _result(finding: Finding) -> dict[str, Any]:
    place = finding.place
    what = "access key and its secret" if finding.kind is Kind.PAIR else "access key id"
    told: dict[str, Any] = {
        "ruleId": _RULES[finding.kind][0],
        "level": "note" if finding.kind is Kind.ID or finding.verdict in _HARMLESS else "error",
        "message": {"text": f"{what}: {finding.access_key_id} in {where(place)} ({finding.verdict.value})"},
        "properties": row_of(finding),
    }
    if finding.fingerprint:
        told["fingerprints"] = {"idAndSecret/v1": finding.fingerprint}
    else:
        told["partialFingerprints"] = {"accessKeyId/v1": finding.access_key_id}
    location: dict[str, Any] = {}
    if place.path is not None:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": quote(place.path.encode("utf-8", "replace"))}
        }
        if finding.line is not None and place.member is None:
            location["physicalLocation"]["region"] = {"startLine": finding.line}
    else:
        location["logicalLocations"] = [{"fullyQualifiedName": where(place)}]
    told["locations"] = [location]
    return told
