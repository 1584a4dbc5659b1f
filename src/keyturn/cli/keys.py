"""`keyturn keys`: every key with its age, its last use, who uses it, and what to do about it."""

from __future__ import annotations

import argparse
from typing import Final

from keyturn.cli import terminal
from keyturn.cli.endpoint_options import add_endpoint_options
from keyturn.cli.key_rows import KEY_COLUMNS, duration, key_cells, verdict_cell
from keyturn.cli.output import Cell, Column, add_output_option, show
from keyturn.cli.room_options import add_room_options
from keyturn.cli.survey import opened_survey

_EXAMPLES: Final = """examples:
  keyturn keys
  keyturn keys ci-deploy --who
  keyturn keys --older 90d --output id
  keyturn keys --unused 45d --output csv > unused.csv
  keyturn keys --endpoint-url http://127.0.0.1:4590 --output wide

Times are the endpoint's. A last use that could not be found out is `unknown`, and never counts as unused. Who
signs with a key is asked of an authority like ours by itself; elsewhere with --who, at half a second a key.
Which sinks hold a key stands there if keyturn.toml declares some; `name?` is one that does not show its key.
"""

_COLUMNS: Final = (
    *KEY_COLUMNS,
    Column("By whom", "by_whom"),
    Column("Sinks", "sinks"),
    Column("Verdict", "verdict"),
    Column("Advice", "advice", is_for_programs=True),
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument("users", metavar="USER", nargs="*", help="default: all users of the account")
    parser.add_argument("--unused", metavar="TIME", type=duration, help="only those unused for so long: 90d")
    parser.add_argument("--older", metavar="TIME", type=duration, help="only those of that age: 90d")
    parser.add_argument("--who", action="store_true", help="ask CloudTrail who signs with each key")
    add_endpoint_options(parser)
    add_room_options(parser)
    add_output_option(parser)


def run(options: argparse.Namespace) -> int:
    from keyturn.rotation.reports import Advice, ReportPolicy, age_of, unused_for, verdict, who

    with opened_survey(options) as survey:
        traits = survey.endpoint.traits()
        users = list(dict.fromkeys(options.users)) or survey.endpoint.users()
        found = survey.facts(
            users,
            with_consumers=options.who or traits.reports_refused_attempts,
            must_exist=bool(options.users),
        )
        now = survey.endpoint.now_ms()
        policies = {user: survey.policy(user, ReportPolicy()) for user in users}
    if options.older is not None:
        found = [facts for facts in found if age_of(facts, now) >= options.older]
    if options.unused is not None:
        found = [facts for facts in found if (unused_for(facts, now) or 0) >= options.unused]
    verdicts = [verdict(facts, now, policies[facts.user_name], traits) for facts in found]
    rows = [
        key_cells(facts, now)
        | {
            "by_whom": Cell(who(facts.consumers) if facts.consumers else None, who(facts.consumers)),
            "sinks": Cell(list(facts.sinks or ())),
            "verdict": verdict_cell(judged),
            "advice": Cell(judged.advice.value),
        }
        for facts, judged in zip(found, verdicts, strict=True)
    ]
    show(_COLUMNS, rows, options.output, id_column="access_key_id")
    if options.output in {"table", "wide"}:
        overdue = sum(judged.advice in {Advice.ROTATE, Advice.DEACTIVATE} for judged in verdicts)
        deletable = sum(judged.advice is Advice.DELETE for judged in verdicts)
        unknown = sum(judged.advice is Advice.LOOK for judged in verdicts)
        told = [f"{len(rows)} key{'s' * (len(rows) != 1)}", f"{overdue} overdue", f"{deletable} deletable"]
        terminal.say(", ".join(told + [f"{unknown} unknown"] * bool(unknown)))
    return terminal.OK
