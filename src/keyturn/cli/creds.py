"""`keyturn creds`: what AWS's SDKs run as `credential_process`, so that they pick a new key up without a restart."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from keyturn.cli import terminal
from keyturn.model.clock import SystemClock

_EXAMPLES = """examples:
  keyturn creds --profile ci --show
  in ~/.aws/config:  [profile ci]
                     credential_process = keyturn creds --profile ci

The answer carries an Expiration, so a running SDK asks again by itself. To a terminal nothing is printed without
--show: it holds the secret.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument(
        "--profile", metavar="NAME", required=True, help="as the sink in keyturn.toml names it"
    )
    parser.add_argument("--path", metavar="FILE", help="where the sink keeps it, if it names a `path`")
    parser.add_argument("--show", action="store_true", help="print it to a terminal, too")


def run(options: argparse.Namespace) -> int:
    from keyturn.rotation.sinks.credential_process import answer, read_stored, store_path

    if terminal.is_for_a_person() and not options.show:
        terminal.say("this would show a secret: an SDK runs it, or give --show")
        return terminal.USAGE
    path = Path(options.path) if options.path else store_path(options.profile, os.environ)
    said = answer(read_stored(path), now_ms=SystemClock().now_ms())
    sys.stdout.buffer.write(said.reveal())
    sys.stdout.flush()
    return terminal.OK
