"""`keyturn leak KEYID…`: the key dies first; then quarantine, sweep, replacement, deletion, and a report."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from keyturn.cli import terminal
from keyturn.cli.endpoint_options import add_endpoint_options
from keyturn.cli.output import plain
from keyturn.cli.room_options import add_room_options, state_directory
from keyturn.cli.rotations import reach_in
from keyturn.model.access_keys import AccessKeyId
from keyturn.model.clock import iso8601
from keyturn.model.errors import KeyturnError

if TYPE_CHECKING:
    from keyturn.leaks.findings import Finding
    from keyturn.leaks.incidents import Incident
    from keyturn.toolroom import Answering

_EXAMPLES: Final = """examples:
  keyturn leak AKIAIOSFODNN7EXAMPLE
  keyturn leak AKIAIOSFODNN7EXAMPLE --dry-run
  keyturn leak AKIAIOSFODNN7EXAMPLE --since 2026-02-01T00:00:00Z --all-keys --deny-all
  keyturn scan . --output jsonl > findings.jsonl; keyturn leak --from findings.jsonl
  keyturn leak --resume
  keyturn leak --report AKIAIOSFODNN7EXAMPLE --output json

A KEYID that you type is acted upon at once: you are the proof. A row of --from is not: its source is read again, and
only a pair that its own issuer accepts is answered; everything else is noted as an exposed identifier.
Whatever ends it, nothing is lost: the same command, or --resume, goes on where it stopped.
Exit code 0: every incident is closed, or nothing was proved; 3: a replacement waits; 5: somebody is needed.
"""
_AT_ONCE: Final = 8
_LONGEST_LINE: Final = 64 * 1024
_MOST_ROWS: Final = 100_000


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument("keys", metavar="KEYID", nargs="*")
    parser.add_argument(
        "--from", dest="findings", metavar="FILE", help="what `keyturn scan --output jsonl` wrote"
    )
    parser.add_argument("--resume", action="store_true", help="go on with every incident that is open")
    parser.add_argument(
        "--list", action="store_true", help="incidents, and ids that were seen without a secret"
    )
    parser.add_argument("--report", metavar="KEYID", help="the incident report of a key")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and who would stop")
    parser.add_argument(
        "--since", metavar="TIME", help="when it was first exposed (ISO 8601); default: its creation"
    )
    parser.add_argument("--all-keys", action="store_true", help="deactivate the user's other keys too")
    parser.add_argument("--deny-all", action="store_true", help="quarantine with a deny of everything")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    add_endpoint_options(parser)
    add_room_options(parser)


def run(options: argparse.Namespace) -> int:
    from keyturn.leaks.issuer import IssuerError

    asked = [bool(options.keys), bool(options.findings), options.resume, options.list, bool(options.report)]
    if sum(asked) != 1:
        terminal.fail("which leak?", "name a KEYID, or one of --from FILE, --resume, --list, --report KEYID")
        return terminal.USAGE
    with _opened(options) as answering:
        try:
            return _run(answering, options)
        except IssuerError as error:
            raise KeyturnError(str(error), "the same command goes on where it stopped") from error


def _run(answering: Answering, options: argparse.Namespace) -> int:
    if options.list:
        return _list(answering)
    if options.report:
        return _report(answering, options.report, options)
    if options.resume:
        return _resume(answering, options)
    if options.findings:
        return _from(answering, options)
    since = _time(options.since) if options.since else None
    if options.dry_run:
        for key in options.keys:
            planned = answering.responder.planned(
                _key(key), all_keys=options.all_keys, deny_all=options.deny_all
            )
            terminal.result(f"{key}" + (f" of {planned.user_name}" if planned.user_name else ""))
            for line in planned.lines:
                terminal.result(f"  {plain(line)}")
        terminal.say("nothing has been changed")
        return terminal.OK
    return _typed(answering, since, options)


def _typed(answering: Answering, since: int | None, options: argparse.Namespace) -> int:
    """Every key dies first; then all are cleaned up after, several at a time."""
    from concurrent.futures import ThreadPoolExecutor

    from keyturn.leaks.issuer import IssuerError

    killed: list[Incident] = []
    failed = 0
    for key in dict.fromkeys(options.keys):
        try:
            outcome = answering.responder.respond(
                _key(key),
                how="typed by an operator",
                exposed_at=since,
                all_keys=options.all_keys,
                deny_all=options.deny_all,
                only_kill=True,
            )
        except (KeyturnError, IssuerError) as error:
            failed += 1
            hint = error.hint if isinstance(error, KeyturnError) else None
            terminal.fail(f"{key}: {error}", hint)
            continue
        if outcome.incident.is_closed:
            terminal.say(f"{key} was answered for already: keyturn leak --report {key}")
        killed.append(outcome.incident)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        incidents = list(pool.map(lambda each: answering.responder.answer(each.incident_id), killed))
    for incident in incidents:
        _tell_report(answering, incident, options)
    return terminal.FAILED if failed else _code(incidents)


def _from(answering: Answering, options: argparse.Namespace) -> int:
    """Read the sources of the findings again: a row is a hint, and the pair that stands there is the proof."""
    rows = _rows(Path(options.findings))
    wanted = {row["fingerprint"]: row for row in rows if row["kind"] == "pair"}
    for row in rows:
        if row["kind"] == "id":
            answering.responder.mention(AccessKeyId(row["access_key_id"]), _place(row))
    found: dict[str, Finding] = {}
    for finding in _found_again(sorted({str(row["source"]) for row in wanted.values()})):
        if finding.fingerprint is not None and finding.fingerprint in wanted:
            found[finding.fingerprint] = finding
    incidents: list[Incident] = []
    for fingerprint, row in wanted.items():
        again = found.get(fingerprint)
        key, place = row["access_key_id"], _place(row)
        if again is None or again.pair is None:
            terminal.say(
                f"{key}: nothing with this fingerprint stands in {plain(place)} any more; nothing was done"
            )
            continue
        if options.dry_run:
            planned = answering.responder.planned(again.access_key_id)
            terminal.result("\n".join([key, *(f"  {plain(line)}" for line in planned.lines)]))
            continue
        outcome = answering.responder.exposed(again.pair, place, exposed_at=_date(again.place.date))
        if outcome is None:
            terminal.result(
                f"{key}: false positive: its issuer does not accept the pair; noted as an exposed identifier"
            )
            continue
        incidents.append(outcome.incident)
        _tell_report(answering, outcome.incident, options)
    return _code(incidents)


def _found_again(sources: list[str]) -> Iterator[Finding]:
    from keyturn.cli.scan import scan_for_leaks

    if sources:
        yield from scan_for_leaks(sources)


def _resume(answering: Answering, options: argparse.Namespace) -> int:
    from keyturn.leaks.storage import incidents as rows

    with answering.state.database.reading() as ledger:
        open_ones = rows.open_ones(ledger)
    incidents = [answering.responder.answer(row.incident.incident_id) for row in open_ones]
    for incident in incidents:
        _tell_report(answering, incident, options)
    if not incidents:
        terminal.say("no incident is open")
    return _code(incidents)


def _list(answering: Answering) -> int:
    from keyturn.leaks.storage import incidents as rows

    with answering.state.database.reading() as ledger:
        incidents = [row.incident for row in rows.latest(ledger, 1000)]
        exposed = rows.exposed(ledger, 1000)
    for incident in incidents:
        terminal.result(
            f"{iso8601(incident.opened_at)}  {incident.access_key_id}  {plain(incident.user_name)}  {incident.stage.value}"
        )
    for key, place, _first, last, count in exposed:
        terminal.result(
            f"{iso8601(last)}  {plain(key)}  exposed identifier, seen {count} times, in {plain(place)}"
        )
    if not incidents and not exposed:
        terminal.say("nothing has leaked that we know of")
    return _code([incident for incident in incidents if not incident.is_closed])


def _report(answering: Answering, key: str, options: argparse.Namespace) -> int:
    from keyturn.leaks.storage import incidents as rows

    with answering.state.database.reading() as ledger:
        row = rows.of_key(ledger, key)
    if row is None:
        raise KeyturnError(f"there is no incident of {key}", "keyturn leak --list shows them")
    _tell_report(answering, row.incident, options, whole=True)
    return _code([row.incident])


def _tell_report(
    answering: Answering, incident: Incident, options: argparse.Namespace, *, whole: bool = False
) -> None:
    from keyturn.leaks.response import report

    lines, deeds = report(answering.state, answering.issuer, incident)
    if options.output == "json":
        terminal.result(json.dumps(_as_json(incident, lines, deeds)))
        return
    if whole:
        terminal.result(f"{incident.access_key_id} of {plain(incident.user_name)}: {incident.stage.value}")
        for line in lines:
            terminal.result(f"  {_after(incident, line.at)}  {line.kind:<8}  {plain(line.what)}")
    for deed in deeds or ():
        times = f"{deed.count} times" if deed.count > 1 else "once"
        refused = f", refused: {deed.error}" if deed.error else ""
        terminal.result(
            f"  since it was exposed: {deed.service} {deed.action} {times} from {plain(deed.source)}"
            f" {plain(deed.agent.partition(' ')[0])}, last {iso8601(deed.last_at)}{refused}"
        )
    if deeds is None:
        terminal.result("  what the key did can't be looked up here")
    if incident.attention:
        terminal.result(f"  ⚠ {plain(incident.attention)}")


def _as_json(incident: Incident, lines: Any, deeds: Any) -> dict[str, object]:
    import dataclasses

    return {
        "incident_id": incident.incident_id,
        "access_key_id": incident.access_key_id,
        "account_id": incident.account_id,
        "user_name": incident.user_name,
        "fingerprint": None if incident.fingerprint == incident.access_key_id else incident.fingerprint,
        "how": incident.how,
        "stage": incident.stage.value,
        "exposed_at": iso8601(incident.exposed_at),
        "opened_at": iso8601(incident.opened_at),
        "deactivated_at": None if incident.deactivated_at is None else iso8601(incident.deactivated_at),
        "dead_keys": [key for _, key in incident.dead_keys],
        "rotation": incident.rotation,
        "attention": incident.attention,
        "timeline": [{"at": iso8601(line.at), "kind": line.kind, "what": line.what} for line in lines],
        "deeds": None
        if deeds is None
        else [
            dataclasses.asdict(deed) | {"first_at": iso8601(deed.first_at), "last_at": iso8601(deed.last_at)}
            for deed in deeds
        ],
    }


@contextmanager
def _opened(options: argparse.Namespace) -> Iterator[Answering]:
    from keyturn.rotation.configuration import read_configuration
    from keyturn.rotation.room import Where
    from keyturn.settings import Locations, configuration_file
    from keyturn.toolroom import opened_answering

    configuration = read_configuration(configuration_file(vars(options)))
    state = Path(state_directory(options))
    where = Where(state, Locations.of(os.environ).config)

    def told(incident: Incident, what: str) -> None:
        if options.output != "json":
            from keyturn.model.clock import SystemClock

            terminal.result(f"{_after(incident, SystemClock().now_ms())}  ✔ {plain(what)}")

    with opened_answering(
        where, state.parent / "incidents", configuration, reach_in(options), environment=os.environ, told=told
    ) as answering:
        yield answering


def _after(incident: Incident, at: int) -> str:
    """`00:11.2`: minutes and seconds since it was opened."""
    seconds = max(0, at - incident.opened_at) / 1000
    return f"{int(seconds // 60):02d}:{seconds % 60:04.1f}"


def _code(incidents: list[Incident]) -> int:
    if any(incident.attention for incident in incidents):
        return terminal.NEEDS_SOMEBODY
    return terminal.OK if all(incident.is_closed for incident in incidents) else terminal.WAITING


def _key(text: str) -> AccessKeyId:
    import re

    if not re.fullmatch(r"[A-Z0-9]{16,128}", text):
        raise KeyturnError(f"{plain(text[:40])!r} is no access key id", "it looks like AKIAIOSFODNN7EXAMPLE")
    return AccessKeyId(text)


def _time(text: str) -> int:
    found = _date(text)
    if found is None:
        raise KeyturnError(f"--since is a time as 2026-02-01T00:00:00Z, and not '{plain(text[:40])}'")
    return found


def _date(text: str | None) -> int | None:
    from datetime import UTC, datetime

    try:
        at = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    if at is None:
        return None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a findings file; what is none is an error that names its line, before anything is done."""
    rows: list[dict[str, Any]] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE + 1), b""), 1):
                if len(line) > _LONGEST_LINE or number > _MOST_ROWS:
                    raise KeyturnError(f"{path}, line {number}: it is too long for a finding")
                if line.strip():
                    rows.append(_row(json.loads(line), path, number))
    except OSError as error:
        raise KeyturnError(f"can't read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise KeyturnError(f"{path} is not what `keyturn scan --output jsonl` writes: {error}") from error
    return rows


def _row(row: Any, path: Path, number: int) -> dict[str, Any]:
    is_row = (
        isinstance(row, dict)
        and row.get("kind") in {"pair", "id"}
        and isinstance(row.get("access_key_id"), str)
        and isinstance(row.get("source"), str)
        and (row["kind"] == "id" or isinstance(row.get("fingerprint"), str))
    )
    if not is_row:
        raise KeyturnError(f"{path}, line {number} is no finding", "keyturn scan SOURCE --output jsonl")
    _key(row["access_key_id"])
    return dict(row)


def _place(row: dict[str, Any]) -> str:
    parts = [str(row[name]) for name in ("source", "commit", "path", "member") if row.get(name)]
    return " ".join(parts)[:500]
