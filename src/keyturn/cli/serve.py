"""`keyturn serve`: the authority, until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, Final

from keyturn.cli import terminal
from keyturn.cli.place_options import add_place_options

if TYPE_CHECKING:
    from keyturn.settings import ServeSettings
    from keyturn.wiring import Opened

_EXAMPLES = """examples:
  keyturn serve
  keyturn serve --data-dir /srv/keyturn --port 4590 --account-id 123456789012
  keyturn serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
  keyturn serve --host 10.0.0.5 --behind-proxy 10.0.0.0/24

Each option can also stand in the environment (KEYTURN_PORT) or in keyturn.toml ([serve] port = 4590);
the option wins, then the environment, then the file. SIGTERM or ctrl-c drains and stops.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    add_place_options(parser, key=True, mark=True)
    parser.add_argument("--host", help="default: 127.0.0.1; another needs TLS or --behind-proxy")
    parser.add_argument("--port", help="default: 4590; 0 takes a free one")
    parser.add_argument("--account-id", metavar="12DIGITS", help="default: random at the first start")
    parser.add_argument(
        "--services",
        metavar="LIST",
        help="default: all that it offers; any other name is a service of your own",
    )
    parser.add_argument("--regions", metavar="LIST", help="default: every region of the aws partition")
    parser.add_argument("--tls-cert", metavar="FILE", help="PEM certificate, with its chain")
    parser.add_argument("--tls-key", metavar="FILE", help="PEM key of the certificate")
    parser.add_argument(
        "--behind-proxy", metavar="CIDR,…", help="proxies whose X-Forwarded-For and -Proto are believed"
    )
    parser.add_argument(
        "--accept-rollback",
        action="store_true",
        help="start from data that is older than its mark (a restored backup); this is written in the audit trail",
    )


_YOUNG_OBJECTS: Final = 20_000
"""Before the collector looks at them: by then the requests that made them are answered, and most are gone."""


def run(options: argparse.Namespace) -> int:
    # No core file: it would hold what the sealing keeps from the disk. New files are for this user alone.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")

    from keyturn.http.server import new_event_loop
    from keyturn.settings import serve_settings

    settings = serve_settings(vars(options))
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: ServeSettings) -> int:
    from keyturn.wiring import serve

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(name, stop.set)

    def listening(url: str, opened: Opened) -> None:
        credentials = settings.place.credentials_file(opened.instance.instance_id)
        key_file = settings.place.key_file(opened.instance.instance_id).path
        terminal.say(f"account {opened.instance.account_id}, data in {settings.place.data_dir}")
        terminal.say(f"master key {key_file}: back it up, apart from the data")
        terminal.say(f"administrator's key in {credentials}")
        terminal.say('point clients here: eval "$(keyturn env)" && aws iam list-users')
        # What the start has made lives as long as the process: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG_OBJECTS, 10, 10)
        terminal.result(f"keyturn listens on {url}")

    await serve(settings, stop=stop, on_listening=listening)
    terminal.say("stopped")
    return terminal.OK
