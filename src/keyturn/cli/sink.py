"""`keyturn sink list|test|adopt`: where keys are delivered, whether each place can be written, and where one lies."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keyturn.cli import terminal
from keyturn.cli.endpoint_options import add_endpoint_options
from keyturn.cli.output import Cell, Column, add_output_option, plain, show
from keyturn.cli.room_options import add_room_options
from keyturn.cli.rotations import opened_room, reach_in
from keyturn.model.errors import KeyturnError

if TYPE_CHECKING:
    from keyturn.rotation.room import Room

_EXAMPLES = """examples:
  keyturn sink list
  keyturn sink test
  keyturn sink test profile
  keyturn sink adopt AKIAIOSFODNN7EXAMPLE ~/app/.env
"""
_COLUMNS: Final = (
    Column("Sink", "sink"),
    Column("Type", "type"),
    Column("Where", "where"),
    Column("Atomic", "is_atomic"),
    Column("Read back", "read_back"),
    Column("Reload", "has_reload"),
    Column("Users", "users"),
    Column("Holds", "holds"),
)
_LARGEST: Final = 1024 * 1024
_SECTION: Final = re.compile(r"\s*\[\s*([^\]\n]{1,200}?)\s*\]")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    listing = _act(acts, "list", "the sinks of keyturn.toml, and which key each holds", "keyturn sink list")
    listing.set_defaults(run=_list)
    add_output_option(listing, ids=False)
    test = _act(
        acts, "test", "prove that each can be reached and written; readers see no change", "keyturn sink test"
    )
    test.set_defaults(run=_test)
    test.add_argument("sinks", metavar="SINK", nargs="*", help="default: all of them")
    adopt = _act(
        acts,
        "adopt",
        "find where a key lies, and print the tables that make sinks of it",
        "keyturn sink adopt AKIAIOSFODNN7EXAMPLE ~/app/.env >> ~/.config/keyturn/keyturn.toml",
    )
    adopt.set_defaults(run=_adopt)
    adopt.add_argument("key", metavar="KEYID")
    adopt.add_argument("files", metavar="FILE", nargs="*", help="`.env` files to look into, too")
    adopt.add_argument("--user", metavar="USER", help="whose key it is: prints the user's table as well")
    for command in (listing, test):
        add_endpoint_options(command)
        add_room_options(command)


def _act(
    acts: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, example: str
) -> argparse.ArgumentParser:
    return acts.add_parser(
        name,
        help=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _list(options: argparse.Namespace) -> int:
    with opened_room(options) as room:
        rows = [_row(room, name, options) for name in room.configuration.sinks]
        if not rows:
            terminal.say(f"no sink is declared in {room.configuration.path}: write [sinks.NAME]")
        show(_COLUMNS, rows, options.output)
    return terminal.OK


def _row(room: Room, name: str, options: argparse.Namespace) -> dict[str, Cell]:
    from keyturn.rotation.sinks.interface import SinkError

    sink = room.sink(name, reach_in(options))
    traits = sink.describe()
    try:
        held = sink.read()
        holds = Cell(held.access_key_id, held.access_key_id or "nothing that it shows")
    except SinkError as error:
        holds = Cell(None, f"can't be read: {error}")
    users = [user.name for user in room.configuration.users.values() if name in user.sinks]
    return {
        "sink": Cell(name),
        "type": Cell(room.configuration.sinks[name].type),
        "where": Cell(traits.where),
        "is_atomic": Cell(traits.is_atomic),
        "read_back": Cell(traits.read_back.value),
        "has_reload": Cell(traits.has_reload),
        "users": Cell(users),
        "holds": holds,
    }


def _test(options: argparse.Namespace) -> int:
    from keyturn.rotation.sinks.interface import SinkError

    failed = 0
    with opened_room(options) as room:
        for name in options.sinks or list(room.configuration.sinks):
            try:
                sink = room.sink(name, reach_in(options))
                sink.test()
                terminal.result(f"✔ {name}: {plain(sink.describe().where)} can be written")
            except (SinkError, KeyturnError) as error:
                failed += 1
                terminal.result(f"✗ {name}: {plain(str(error))}")
    return terminal.NEEDS_SOMEBODY if failed else terminal.OK


def _adopt(options: argparse.Namespace) -> int:
    if not re.fullmatch(r"\w{16,128}", options.key):
        raise KeyturnError(f"{options.key!r} is no access key id", "keyturn keys shows them")
    found = list(_places(options.key, [Path(file).expanduser().absolute() for file in options.files]))
    if not found:
        terminal.say(f"{options.key} was found nowhere; name more files, or scan with `keyturn scan DIR`")
        return terminal.FAILED
    names = []
    for number, (kind, fields) in enumerate(found, 1):
        name = f"{kind}-{number}".replace("_", "-")
        names.append(name)
        terminal.result(f"[sinks.{name}]\ntype = {_toml(kind)}")
        for field, value in fields.items():
            terminal.result(f"{field} = {_toml(value)}")
        terminal.result("")
    if options.user:
        terminal.result(f"[users.{_toml(options.user)}]\nsinks = [{', '.join(map(_toml, names))}]")
    terminal.say(f"{len(found)} places hold {options.key}; nothing has been changed")
    return terminal.OK


def _places(key: str, files: list[Path]) -> Iterator[tuple[str, dict[str, str]]]:
    """Profiles and `.env` files that name the id."""
    home = Path(os.environ.get("HOME", "/"))
    credentials = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials")
    section = ""
    for line in _lines(credentials):
        if match := _SECTION.match(line):
            section = match[1]
        elif (
            line.split("=", 1)[0].strip().lower() == "aws_access_key_id"
            and line.split("=", 1)[-1].strip() == key
        ):
            yield "credentials_file", {"profile": section, "path": str(credentials)}
    for file in files:
        for line in _lines(file):
            variable, _, value = line.removeprefix("export ").partition("=")
            if value.strip().strip("'\"") == key:
                fields = {"path": str(file)}
                if variable.strip() != "AWS_ACCESS_KEY_ID":
                    fields["id_variable"] = variable.strip()
                yield "dotenv", fields


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST).decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise KeyturnError(f"can't read {path}: {error.strerror}") from error


def _toml(text: str) -> str:
    """A basic string (TOML 1.0, String)."""
    escaped = "".join(
        f"\\u{ord(letter):04x}" if ord(letter) < 32 or letter in '"\\\x7f' else letter for letter in text
    )
    return f'"{escaped}"'
