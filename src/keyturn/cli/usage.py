"""`keyturn usage KEYID`: who used a key, and who was refused."""

from __future__ import annotations

import argparse

from keyturn.cli import terminal
from keyturn.cli.place_options import add_place_options
from keyturn.model.clock import iso8601

_EXAMPLES = """examples:
  keyturn usage AKIA…
  keyturn usage AKIA… --output json

`used` and `refused` rows are proved: whoever made the call held the secret. Unproved attempts (a wrong
signature, or a key that is deleted) are only counted: anybody who knows the id can make them.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    add_place_options(parser)
    parser.add_argument("access_key_id", metavar="KEYID")
    parser.add_argument("--output", choices=("table", "json"), default="table")


def run(options: argparse.Namespace) -> int:
    from keyturn.settings import place
    from keyturn.wiring import usage_of

    usage = usage_of(place(vars(options)), options.access_key_id)
    rows = [
        (
            row.key.outcome,
            row.key.source,
            row.key.user_agent,
            row.key.service,
            row.key.action,
            iso8601(row.first),
            iso8601(row.last),
            str(row.count),
        )
        for row in usage.rows
    ]
    if usage.unproved is not None:
        attempts = usage.unproved
        at = iso8601(attempts.at)
        rows.append(("unproved", attempts.source, "-", "-", "-", "-", at, str(attempts.count)))
    deleted = f", deleted {iso8601(usage.issued.deleted_at)}" if usage.issued.deleted_at else ""
    terminal.say(
        f"{options.access_key_id} of {usage.issued.user_name}, created {iso8601(usage.issued.created_at)}{deleted}"
    )
    if not rows:
        terminal.say("never used")
    if rows or options.output == "json":
        headings = ("Outcome", "Source", "User agent", "Service", "Action", "First", "Last", "Count")
        terminal.table(headings, rows, options.output)
    return terminal.OK
