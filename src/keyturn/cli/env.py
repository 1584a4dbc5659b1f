"""`keyturn env`: the exports that point `aws` and every SDK at this authority, as its administrator."""

from __future__ import annotations

import argparse
import shlex

from keyturn.cli import terminal
from keyturn.cli.place_options import add_place_options

_EXAMPLES = """examples:
  eval "$(keyturn env)" && aws iam list-users
  eval "$(keyturn env --data-dir /srv/keyturn --region eu-central-1)"

It prints the administrator's secret, so to a terminal it prints nothing without --show.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    add_place_options(parser)
    parser.add_argument("--region", default="us-east-1", help="default: us-east-1")
    parser.add_argument("--show", action="store_true", help="print also to a terminal")


def run(options: argparse.Namespace) -> int:
    from keyturn.settings import place
    from keyturn.wiring import reach

    if terminal.is_for_a_person() and not options.show:
        terminal.fail(
            "this would show the administrator's secret on the screen",
            'use it as eval "$(keyturn env)", or say --show',
        )
        return terminal.FAILED
    here = reach(place(vars(options)))
    exports = {
        "AWS_ENDPOINT_URL": here.endpoint_url,
        "AWS_ACCESS_KEY_ID": here.credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": here.credentials.secret.reveal().decode("ascii"),
        "AWS_REGION": options.region,
        "AWS_DEFAULT_REGION": options.region,
    }
    for name, value in exports.items():
        terminal.result(f"export {name}={shlex.quote(value)}")
    # A session token or a profile left over from elsewhere would travel with these keys.
    terminal.result("unset AWS_SESSION_TOKEN AWS_PROFILE")
    return terminal.OK
