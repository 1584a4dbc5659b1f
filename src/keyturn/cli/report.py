"""`keyturn report`: key holders without a second factor, and keys that are unused, old, or against the CIS benchmark.

`mfa` reads the authority's own files; the others ask any IAM endpoint.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from keyturn.cli import terminal
from keyturn.cli.endpoint_options import add_endpoint_options
from keyturn.cli.key_rows import KEY_COLUMNS, duration, key_cells
from keyturn.cli.output import Cell, Column, add_output_option, show
from keyturn.cli.place_options import add_place_options
from keyturn.cli.room_options import add_room_options
from keyturn.cli.survey import opened_survey
from keyturn.model.clock import SystemClock, iso8601

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.rotation.reports import Finding, KeyFacts, ReportPolicy

_EXAMPLES = """examples:
  keyturn report mfa
  keyturn report mfa --output json
  keyturn report mfa --policy > require-mfa.json
  aws iam create-policy --policy-name RequireMFA --policy-document file://require-mfa.json

It reads one snapshot beside a running server. `required` says whether the account's setting holds the user to
a second factor now (see `keyturn account mfa-required`); where it does, the key alone can do next to nothing.
"""


_STALE_EXAMPLES: Final = """examples:
  keyturn report stale
  keyturn report stale --unused 45d --output csv
  keyturn report stale --profile audit --output id

A key that was never seen used counts from the day it was made, once its grace is over. One whose last use could not
be found out is not stale: it is named on stderr. Exit code 0: none; 3: some were found; 1: could not be looked at.
"""
_AGE_EXAMPLES: Final = """examples:
  keyturn report age
  keyturn report age --older 30d --output json

Active keys only. Exit code 0: none; 3: some were found; 1: could not be looked at.
"""
_CIS_EXAMPLES: Final = """examples:
  keyturn report cis
  keyturn report cis --output csv

CIS AWS Foundations Benchmark: 1.12, credentials unused for 45 days or more are disabled; 1.13, only one active
access key for any single user; 1.14, access keys are rotated every 90 days or less.
Exit code 0: nothing is against it; 3: something is; 1: could not be looked at.
"""
_FINDING_COLUMNS: Final = (
    Column("Control", "control"),
    *KEY_COLUMNS,
    Column("Finding", "finding"),
    Column("Exempt", "exempt"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = f"{_EXAMPLES}\n{_STALE_EXAMPLES}"
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    mfa = acts.add_parser(
        "mfa",
        help="active keys whose users have no second factor",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    mfa.set_defaults(run=run)
    add_place_options(mfa)
    mfa.add_argument("--output", choices=("table", "json", "csv"), default="table")
    mfa.add_argument(
        "--policy", action="store_true", help="print the same rule as a policy to attach, and nothing else"
    )
    stale = _about_keys(acts, "stale", "keys that nobody has used for a long time", _STALE_EXAMPLES)
    stale.add_argument("--unused", metavar="TIME", type=duration, help="for how long; default: 90d")
    stale.add_argument("--grace", metavar="TIME", type=duration, help="how long a key is new; default: 14d")
    age = _about_keys(acts, "age", "active keys that are old", _AGE_EXAMPLES)
    age.add_argument("--older", metavar="TIME", type=duration, help="from what age; default: 90d")
    _about_keys(acts, "cis", "keys against the CIS AWS Foundations Benchmark", _CIS_EXAMPLES)


def _about_keys(
    acts: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, examples: str
) -> argparse.ArgumentParser:
    act = acts.add_parser(
        name,
        help=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    act.set_defaults(run=_run_about_keys)
    add_endpoint_options(act)
    add_room_options(act)
    add_output_option(act)
    return act


def _run_about_keys(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from keyturn.rotation.endpoint import Unknown
    from keyturn.rotation.inventory import key_facts
    from keyturn.rotation.reports import ReportPolicy

    with opened_survey(options) as survey:
        keys = key_facts(survey.endpoint, survey.endpoint.users(), with_consumers=False)
        now = survey.endpoint.now_ms()
        policy = ReportPolicy(exemptions=survey.configuration.exemptions)
    for name, field in (("unused", "unused_ms"), ("grace", "grace_ms"), ("older", "older_ms")):
        if getattr(options, name, None) is not None:
            policy = replace(policy, **{field: getattr(options, name)})
    found = _findings(options.act, keys, now, policy)
    rows = [
        key_cells(finding.facts, now)
        | {
            "control": Cell(finding.control),
            "finding": Cell(finding.text),
            "exempt": Cell(
                None
                if finding.exemption is None
                else f"until {iso8601(finding.exemption.until)[:10]} ({finding.exemption.owner})"
            ),
        }
        for finding in found
    ]
    show(_FINDING_COLUMNS, rows, options.output, id_column="access_key_id")
    unknown = sum(isinstance(facts.last_use, Unknown) for facts in keys)
    if unknown and options.act != "age":
        terminal.say(f"of {unknown} of {len(keys)} keys the last use could not be found out")
    if not found:
        terminal.say(f"none of {len(keys)} keys")
    return terminal.FOUND if any(finding.exemption is None for finding in found) else terminal.OK


def _findings(act: str, keys: Sequence[KeyFacts], now: int, policy: ReportPolicy) -> list[Finding]:
    from keyturn.rotation import reports

    match act:
        case "stale":
            return reports.stale(keys, now, policy)
        case "age":
            return reports.old(keys, now, policy)
        case _:
            return reports.cis(keys, now, policy)


def run(options: argparse.Namespace) -> int:
    if options.policy:
        from keyturn.authority.guardrails import DOCUMENT

        terminal.result(DOCUMENT)
        return terminal.OK

    from keyturn.settings import place
    from keyturn.wiring import mfa_report

    report = mfa_report(place(vars(options)))
    now = SystemClock().now_ms()
    rows = [
        (
            key.user_name,
            key.access_key_id,
            iso8601(key.created_at),
            terminal.age(now - key.created_at),
            _claim(key.has_login_profile),
            _claim(is_required),
        )
        for key, is_required in report.keys
    ]
    terminal.say(f"a second factor is required of: {report.required.value}")
    if not rows:
        terminal.say("every user with an active key has a second factor")
    if rows or options.output != "table":
        headings = ("User", "Access key id", "Created", "Age", "Login profile", "Required")
        if options.output == "csv":
            columns = [Column(heading, heading.lower().replace(" ", "_")) for heading in headings]
            cells = [
                {column.name: Cell(text) for column, text in zip(columns, row, strict=True)} for row in rows
            ]
            show(columns, cells, "csv")
        else:
            terminal.table(headings, rows, options.output)
    return terminal.OK


def _claim(value: bool) -> str:  # noqa: FBT001 - it is the value itself that is told
    return "yes" if value else "no"
