"""`keyturn account show|mfa-required`: what the account has set for itself beyond AWS's own settings."""

from __future__ import annotations

import argparse
import asyncio
import os

from keyturn.cli import terminal
from keyturn.cli.place_options import add_place_options

_SHOW_EXAMPLES = """examples:
  keyturn account show
  keyturn account show --output json
"""
_MFA_EXAMPLES = """examples:
  keyturn account mfa-required people
  keyturn account mfa-required all

people  users with a login profile (a password) must prove a second factor; the default
all     every user, also with an access key alone; the tag keyturn:mfa-exempt frees one
off     nobody

While the server runs it is asked to, in a call that the administrator signs; if the user `administrator` has an MFA
device, its code is asked for, or read from stdin. To loosen the setting needs that code. With the server stopped,
whoever holds the data directory and the master key can always say `off` again. `all` is refused while the user
`administrator` has no MFA device. The change stands in the audit trail.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "examples:\n  keyturn account show\n  keyturn account mfa-required people"
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    show = acts.add_parser(
        "show",
        help="the account's settings, beside a running server",
        epilog=_SHOW_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    show.set_defaults(run=_show)
    add_place_options(show)
    show.add_argument("--output", choices=("table", "json"), default="table")
    required = acts.add_parser(
        "mfa-required",
        help="of whom a second factor is required",
        epilog=_MFA_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    required.set_defaults(run=_require_mfa)
    add_place_options(required, key=True, mark=True)
    required.add_argument("value", choices=("people", "all", "off"))


def _show(options: argparse.Namespace) -> int:
    from keyturn.settings import place
    from keyturn.wiring import account_settings

    settings = account_settings(place(vars(options)))
    rows = [
        ("account-id", settings.account_id),
        ("alias", settings.alias or "-"),
        ("mfa-required", settings.mfa_required.value),
    ]
    terminal.table(("Setting", "Value"), rows, options.output)
    return terminal.OK


def _require_mfa(options: argparse.Namespace) -> int:
    os.umask(0o077)

    from keyturn.authority.guardrails import MfaRequired
    from keyturn.settings import place
    from keyturn.store.exclusive_lock import InUseError
    from keyturn.wiring import ask_server_to_require_mfa, require_mfa

    required, where = MfaRequired(options.value), place(vars(options))
    try:
        before = asyncio.run(require_mfa(where, required))
    except InUseError:
        before = ask_server_to_require_mfa(
            where, required, lambda: terminal.ask("code of the administrator's MFA device: ")
        )
    terminal.say(f"before: {before.value}")
    terminal.result(f"mfa-required: {required.value}")
    return terminal.OK
