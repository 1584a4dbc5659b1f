"""`keyturn scan SOURCE…`: looks for leaked keys, and says what it could not look into."""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keyturn.cli import terminal
from keyturn.cli.endpoint_options import add_endpoint_options
from keyturn.cli.output import plain
from keyturn.model.access_keys import AccountId, parse_account_id
from keyturn.model.errors import KeyturnError

if TYPE_CHECKING:
    from keyturn.leaks.containers.unpack import Limits
    from keyturn.leaks.findings import Finding
    from keyturn.leaks.scan import Judge, ScanResult
    from keyturn.leaks.sources.interface import Source

_EXAMPLES: Final = """examples:
  keyturn scan .
  keyturn scan --staged
  keyturn scan https://example.com/team/project.git
  docker save web:1.4 | keyturn scan image:-
  keyturn scan web.tar --output sarif --output-file keys.sarif
  kubectl logs deploy/web | keyturn scan -
  keyturn scan . --include-ids --write-baseline keys.baseline
  keyturn scan . --baseline keys.baseline
  keyturn scan . --verify --endpoint-url https://keys.example.com

A SOURCE is a directory (with the whole history of each Git repository in it), a bare repository, an image of
`docker save` or in the OCI layout, a file, `-` for stdin, or the URL of a repository. git:X, image:X, dir:X and
file:X say what X is to be taken for.

A secret is never shown. An id without its secret is no leak: it is counted, and listed with --include-ids.
A comment `keyturn:allow` on a line accepts what stands there.

Nobody is asked about a key unless you say so. With --ask, or with an endpoint or a profile named, its issuer is
asked whether it knows the id; with --verify a pair also signs one GetCallerIdentity there, which is all it signs. No
secret leaves this machine. A canary's pair is left alone: it would tell its owner.

Exit code 0: clean; 3: leaked keys were found; 4: none were found, and not everything could be looked into (what
and why is said); 1: it could not be done.
"""

_OUTPUTS: Final = ("table", "jsonl", "sarif", "csv")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument("sources", metavar="SOURCE", nargs="*")
    parser.add_argument(
        "--staged",
        action="store_true",
        help="what is staged for the next commit; SOURCE: a work tree, default `.`",
    )
    parser.add_argument("--output", choices=_OUTPUTS, default="table")
    parser.add_argument("--output-file", metavar="FILE", type=Path, help="instead of stdout")
    parser.add_argument(
        "--include-ids", action="store_true", help="list ids that stand without their secret too"
    )
    parser.add_argument("--baseline", metavar="FILE", type=Path, help="leave out what this file accepts")
    parser.add_argument(
        "--write-baseline", metavar="FILE", type=Path, help="accept all that is found, from now on"
    )
    parser.add_argument(
        "--since", metavar="DATE", type=_date, help="leave out what older commits brought (ISO 8601)"
    )
    parser.add_argument(
        "--account",
        metavar="ID",
        action="append",
        type=_account,
        default=[],
        help="an account of your own: its keys are marked; may be given again",
    )
    parser.add_argument("--ask", action="store_true", help="ask the issuer whether it knows each id")
    parser.add_argument(
        "--verify", action="store_true", help="let each pair sign one GetCallerIdentity at its own issuer"
    )
    parser.add_argument(
        "--allow-canary", action="store_true", help="with --verify: pairs of known canary accounts too"
    )
    add_endpoint_options(parser)
    state = parser.add_mutually_exclusive_group()
    state.add_argument(
        "--state",
        metavar="DIR",
        type=Path,
        help="where to remember what was searched, so that the next scan of a repository costs only what is new;"
        " default: $XDG_STATE_HOME/keyturn/scans",
    )
    state.add_argument("--no-state", action="store_true", help="search everything, and remember nothing")
    parser.add_argument("--max-depth", metavar="N", type=_count, help="containers in containers; default: 8")
    parser.add_argument(
        "--max-members", metavar="N", type=_count, help="of one container, all levels; default: 1000000"
    )
    parser.add_argument(
        "--max-unpacked", metavar="MB", type=_count, help="that one file may unpack to; default: 65536"
    )


def run(options: argparse.Namespace) -> int:
    from keyturn.leaks.baseline import write_baseline
    from keyturn.leaks.replacing import replace_file

    if not options.sources and not options.staged:
        terminal.fail("nothing to scan was named", "here: keyturn scan .")
        return terminal.USAGE
    if options.allow_canary and not options.verify:
        terminal.fail("--allow-canary is about --verify, which is not given")
        return terminal.USAGE
    with _judge(options) as judge:
        result = _scanned(options, judge)
    if options.write_baseline is not None:
        rows = write_baseline(options.write_baseline, result.findings)
        terminal.say(f"{options.write_baseline}: {rows} accepted from now on")
    text = _told(result, options.output, is_for_file=options.output_file is not None)
    if options.output_file is not None:
        replace_file(options.output_file, text)
    elif text:
        terminal.result(text.removesuffix("\n"))
    _say(result)
    if result.leaks and options.write_baseline is None:
        return terminal.FOUND
    return terminal.INCOMPLETE if result.skipped_in_all else terminal.OK


def scan_for_leaks(sources: Sequence[str]) -> Iterable[Finding]:
    """The pairs in these sources, named as on the command line, each with its pair. No memory, no baseline."""
    parser = argparse.ArgumentParser()
    configure(parser)
    return _scanned(parser.parse_args(["--no-state", "--", *sources]), None).findings


@contextmanager
def _judge(options: argparse.Namespace) -> Iterator[Judge | None]:
    """Nobody, unless the user has named somebody to ask."""
    if not (options.ask or options.verify or options.endpoint_url or options.profile):
        yield None
        return
    import threading

    from botocore.exceptions import BotoCoreError

    from keyturn.aws_clients import AwsClients, Reach
    from keyturn.leaks.iam_issuer import IamIssuer
    from keyturn.leaks.issuer import IssuerError
    from keyturn.leaks.validity import Judge as Asking
    from keyturn.model.clock import SystemClock

    region = options.region or os.environ.get("AWS_REGION")
    clients = AwsClients(Reach(options.endpoint_url, options.profile, region))
    try:
        try:
            is_aws = clients.url() is None
        except BotoCoreError as error:
            raise KeyturnError(f"nobody can be asked: {plain(str(error))}", "see `keyturn doctor`") from error
        issuer = IamIssuer(clients, clock=SystemClock())
        try:
            issuer.account_id()
        except IssuerError as error:
            terminal.say(f"ids can't be asked about: {plain(str(error))}")
        yield Asking(
            issuer,
            is_aws=is_aws,
            may_verify=options.verify,
            may_touch_canaries=options.allow_canary,
            pause=threading.Event().wait,
        )
    finally:
        clients.close()


def _scanned(options: argparse.Namespace, judge: Judge | None) -> ScanResult:
    from keyturn.leaks.baseline import Baseline, read_baseline
    from keyturn.leaks.containers.unpack import Unpacker
    from keyturn.leaks.detector import detect
    from keyturn.leaks.prefilter import shared
    from keyturn.leaks.scan import Scan
    from keyturn.leaks.sources.interface import SourceError
    from keyturn.leaks.sources.recognise import Recogniser
    from keyturn.model.clock import SystemClock

    prefilter = shared(_cache())
    unpacker = Unpacker(prefilter.has_prefix, _limits(options), prefilter.has_prefix_or_archive)
    scan = Scan(
        may_hold=prefilter.may_hold,
        detect=detect,
        unpacker=unpacker,
        include_ids=options.include_ids,
        ours=frozenset(options.account),
        since=options.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if options.since else None,
        baseline=read_baseline(options.baseline) if options.baseline else Baseline(),
        judge=judge,
        progress=terminal.throughput("searched", SystemClock().monotonic),
    )
    recogniser = Recogniser(unpacker, lambda name: _repository(name, options))
    try:
        if options.staged:
            return scan.run(_staged(name) for name in options.sources or ["."])
        return scan.run(recogniser.sources_of(options.sources))
    except SourceError as error:
        raise KeyturnError(str(error)) from error
    finally:
        terminal.end_of_line()


def _limits(options: argparse.Namespace) -> Limits:
    from keyturn.leaks.containers.unpack import Limits

    limits = Limits()
    return Limits(
        depth=options.max_depth or limits.depth,
        members=options.max_members or limits.members,
        unpacked=options.max_unpacked << 20 if options.max_unpacked else limits.unpacked,
    )


def _repository(name: str, options: argparse.Namespace) -> Source:
    from keyturn.leaks.sources.git_history import GitHistory
    from keyturn.leaks.sources.incremental import StateFile
    from keyturn.leaks.sources.remote import RemoteRepository, is_remote

    path = Path(name)
    if not path.exists() and is_remote(name):
        return RemoteRepository(name, since=options.since)
    state = None
    if not options.no_state and options.since is None:
        file = _state_dir(options) / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.scan"
        state = StateFile(file, f"{_what_decides()} {_limits(options)}")
    incoming = os.environ.get("GIT_QUARANTINE_PATH")  # in a hook, while a push waits for its answer
    quarantine = Path(incoming) if incoming else None
    return GitHistory(path, name, since=options.since, state=state, quarantine=quarantine)


def _staged(name: str) -> Source:
    from keyturn.leaks.sources.staged import Staged

    return Staged(Path(name), name)


def _cache() -> Path | None:
    """Where what was compiled is kept between runs: a hook starts at once."""
    from keyturn.model.directories import cache_directory

    named = cache_directory(os.environ)
    return Path(named) if named else None


def _state_dir(options: argparse.Namespace) -> Path:
    from keyturn.settings import Locations

    directory: Path = options.state or Locations.of(os.environ).state / "scans"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


def _what_decides() -> str:
    """Stands for all the code that finds keys: another release searches everything again."""
    import keyturn.leaks

    digest = hashlib.sha256()
    for file in sorted(Path(keyturn.leaks.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _told(result: ScanResult, output: str, *, is_for_file: bool) -> str:
    from keyturn.leaks.reports.csv import csv
    from keyturn.leaks.reports.jsonl import jsonl
    from keyturn.leaks.reports.sarif import sarif
    from keyturn.leaks.reports.table import table

    if output == "table":
        return table(result, is_coloured=not is_for_file and terminal.is_coloured())
    return {"jsonl": jsonl, "sarif": sarif, "csv": csv}[output](result)


def _say(result: ScanResult) -> None:
    from keyturn.leaks.reports.table import summary

    for line in summary(result):
        terminal.say(line)
    if result.leaks:
        terminal.say("deactivate them first: aws iam update-access-key --access-key-id … --status Inactive")
    elif not result.skipped_in_all:
        terminal.say("clean")


def _date(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no date: write it as 2026-01-31") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _account(text: str) -> AccountId:
    account = parse_account_id(text)
    if account is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no account id: it has 12 digits")
    return account


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1 << 40:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)
