"""`keyturn report mfa`: key holders without a second factor, and the policy that would require one of them."""

from __future__ import annotations

import argparse

from keyturn.cli import terminal
from keyturn.cli.place_options import add_place_options
from keyturn.model.clock import SystemClock, iso8601

_EXAMPLES = """examples:
  keyturn report mfa
  keyturn report mfa --output json
  keyturn report mfa --policy > require-mfa.json
  aws iam create-policy --policy-name RequireMFA --policy-document file://require-mfa.json

It reads one snapshot beside a running server. `required` says whether the account's setting holds the user to
a second factor now (see `keyturn account mfa-required`); where it does, the key alone can do next to nothing.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
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
    mfa.add_argument("--output", choices=("table", "json"), default="table")
    mfa.add_argument(
        "--policy", action="store_true", help="print the same rule as a policy to attach, and nothing else"
    )


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
    if rows or options.output == "json":
        headings = ("User", "Access key id", "Created", "Age", "Login profile", "Required")
        terminal.table(headings, rows, options.output)
    return terminal.OK


def _claim(value: bool) -> str:  # noqa: FBT001 - it is the value itself that is told
    return "yes" if value else "no"
