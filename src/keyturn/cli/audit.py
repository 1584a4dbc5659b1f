"""`keyturn audit verify`: is the trail whole?"""

from __future__ import annotations

import argparse

from keyturn.cli import terminal
from keyturn.cli.place_options import add_place_options

_EXAMPLES = """examples:
  keyturn audit verify
  keyturn audit verify --data-dir /srv/keyturn && echo whole

Exit code 0: whole; 3: not whole, with a sentence for each fault; 1: could not be looked at.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    verify = acts.add_parser(
        "verify",
        help="walk the whole chain, beside a running server",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verify.set_defaults(run=run)
    add_place_options(verify, key=True, mark=True)


def run(options: argparse.Namespace) -> int:
    from keyturn.settings import place
    from keyturn.wiring import verify_audit

    verdict, mark = verify_audit(place(vars(options)), terminal.progress("verifying"))
    if mark is None:
        terminal.say("there is no mark file: a tail that was cut off can't be told")
    for fault in verdict.faults:
        terminal.result(f"fault: {fault}")
    if verdict.faults:
        terminal.fail(
            f"the audit trail is not whole: {len(verdict.faults)} fault{'s' * (len(verdict.faults) > 1)}",
            "keep this data as it is, and compare it with your backups",
        )
        return terminal.FOUND
    terminal.result(f"whole: {verdict.records} records")
    return terminal.OK
