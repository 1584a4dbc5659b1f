"""`keyturn why KEYID`: the evidence for one key: whose it is, who signs with it, what it has obtained."""

from __future__ import annotations

import argparse
import json
import re
from typing import TYPE_CHECKING, Final

from keyturn.cli import terminal
from keyturn.cli.endpoint_options import add_endpoint_options
from keyturn.cli.key_rows import key_cells, last_use_text
from keyturn.cli.output import Cell, Column, add_output_option, plain, show
from keyturn.cli.room_options import add_room_options
from keyturn.cli.survey import opened_survey
from keyturn.model.errors import KeyturnError

if TYPE_CHECKING:
    from keyturn.model.access_keys import AccessKeyId

_EXAMPLES: Final = """examples:
  keyturn why AKIA…
  keyturn why AKIA… --output json
  keyturn why AKIA… --profile audit

The rows are who has signed with the key in the last 90 days, the last one first. `refused` is an attempt with the
key deactivated whose signature matched: whoever made it holds the secret. AWS reports none of these.
`days` has one mark for each of the last 90 days: the higher, the more uses are known of it. Uses are noted once a
day by `keyturn run` and `keyturn serve`, so a low mark is a day with use, and no mark is a day of which none is known.
"""

_SHAPE: Final = re.compile(r"[A-Z0-9]{16,128}\Z")
"""`accessKeyIdType` of the IAM API, in capitals: other endpoints mint ids of their own."""
_MARKS: Final = "·▁▂▃▄▅▆▇█"
_COLUMNS: Final = (
    Column("Outcome", "outcome"),
    Column("Source", "source"),
    Column("User agent", "user_agent"),
    Column("Service", "service"),
    Column("Action", "action"),
    Column("Last", "last_at"),
    Column("Count", "count"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument("access_key_id", metavar="KEYID", help="a whole access key id")
    add_endpoint_options(parser)
    add_room_options(parser)
    add_output_option(parser, ids=False)


def run(options: argparse.Namespace) -> int:
    from keyturn.model.access_keys import AccessKeyId
    from keyturn.model.clock import iso8601
    from keyturn.rotation.inventory import LOOK_BACK_MS
    from keyturn.rotation.reports import KeyFacts, ReportPolicy, age_of, verdict
    from keyturn.rotation.usage import DAY, UsageHistory, spell, uses_by_day

    access_key_id = AccessKeyId(options.access_key_id)
    if not _SHAPE.match(access_key_id):
        raise KeyturnError(
            f"{plain(options.access_key_id)} is no access key id", "`keyturn keys --output id` lists them"
        )
    with opened_survey(options) as survey:
        endpoint = survey.endpoint
        user_name = endpoint.owner(access_key_id)
        key = next(
            (
                key
                for key in (endpoint.keys(user_name) if user_name is not None else ())
                if key.access_key_id == access_key_id
            ),
            None,
        )
        if user_name is None or key is None:
            raise _nobodys(access_key_id, endpoint.identity().account_id)
        now = endpoint.now_ms()
        consumers = endpoint.consumers(access_key_id, since=now - LOOK_BACK_MS)
        sessions = endpoint.sessions(access_key_id)
        made_by = endpoint.created_by(access_key_id, user_name)
        held = survey.holders([user_name])
        history = UsageHistory.of(
            survey.samples(access_key_id), [each.last_at for each in consumers or () if not each.is_refused]
        )
        facts = KeyFacts(
            user_name,
            key,
            endpoint.last_use(access_key_id),
            consumers,
            None if held is None else held.of(user_name, key),
            history,
        )
        judged = verdict(facts, now, survey.policy(user_name, ReportPolicy()), endpoint.traits())
    rows = [
        {
            "outcome": Cell("refused" if each.is_refused else "used"),
            "source": Cell(each.source),
            "user_agent": Cell(each.agent),
            "service": Cell(each.service),
            "action": Cell(each.action),
            "last_at": Cell(iso8601(each.last_at)),
            "count": Cell(each.count),
        }
        for each in consumers or ()
    ]
    by_day = uses_by_day(facts.history, facts.last_use, now)
    if options.output == "json":
        summary = {name: cell.value for name, cell in key_cells(facts, now).items()} | {
            "made_by_rotation": made_by,
            "sinks": None if facts.sinks is None else list(facts.sinks),
            "uses_by_day": {iso8601(day * DAY)[:10]: count for day, count in by_day.items() if count},
            "verdict": judged.text,
            "advice": judged.advice.value,
            "sessions": None
            if sessions is None
            else [{"arn": each.arn, "expires_at": iso8601(each.expires_at)} for each in sessions],
            "consumers": None
            if consumers is None
            else [{name: cell.value for name, cell in row.items()} for row in rows],
        }
        terminal.result(json.dumps(summary, indent=2))
        return terminal.OK
    for said, words in (
        ("user", user_name),
        ("status", key.status.value),
        ("age", f"{spell(age_of(facts, now))}, created {iso8601(key.created_at)}"),
        ("made by", {None: "unknown", "": "no rotation"}.get(made_by, f"rotation {made_by}")),
        ("last used", last_use_text(facts.last_use, now)),
        ("days", _sparkline(list(by_day.values()))),
        ("sinks", "none is declared" if facts.sinks is None else ", ".join(facts.sinks) or "none"),
        ("sessions", _sessions_text(None if sessions is None else [each.expires_at for each in sessions])),
        ("verdict", judged.text),
    ):
        terminal.say(f"{said + ':':<11}{plain(words)}")
    if consumers is None:
        terminal.say("who signs with it can't be found out here: LookupEvents gave no answer")
    show(_COLUMNS, rows, options.output)
    return terminal.OK


def _sparkline(counts: list[int]) -> str:
    """One mark a day, the last one today."""
    most = max(counts, default=0)
    if not most:
        return "no use is known"
    return "".join(_MARKS[-(-count * (len(_MARKS) - 1) // most)] for count in counts)


def _nobodys(access_key_id: AccessKeyId, account_id: str) -> KeyturnError:
    """The id itself names its account."""
    from keyturn.model.access_keys import account_of

    named = account_of(access_key_id)
    if named is not None and named != account_id:
        return KeyturnError(
            f"{access_key_id} is a key of account {named}, and this is {account_id}",
            "name a profile of that account with --profile",
        )
    return KeyturnError(f"there is no key {access_key_id} here", "`keyturn keys` lists those that are there")


def _sessions_text(ends: list[int] | None) -> str:
    if ends is None:
        return "unknown"
    from keyturn.model.clock import iso8601

    if not ends:
        return "none is live"
    return f"{len(ends)} live, the last one until {iso8601(max(ends))}"
