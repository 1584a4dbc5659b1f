"""Writes docs/reference/commands.md and docs/reference/api.md from the program itself.

Usage: python tools/generate_reference.py. A test fails when what is checked in is not what this writes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from keyturn.authority.operations import OPERATIONS
from keyturn.cli.main import parser_for
from keyturn.settings import OFFERED_SERVICES
from keyturn.wiring import REGISTERED, load_contracts

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser and all below it, in the order of the help."""
    yield parser
    for action in parser._actions:  # noqa: SLF001 - argparse offers no other way to its subcommands
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for child in action.choices.values():
                yield from parsers(child)


COMMANDS = """# Commands

What `keyturn VERB --help` prints. Results go to stdout, talk goes to stderr.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | it could not be done; stderr says why and what to do |
| 2 | the command line itself is wrong |
| 3 | a check was made and found something (`audit verify`) |
| 130 | interrupted |
"""

API = """# API

The Query protocol of IAM (2010-05-08) and STS (2011-06-15), and the JSON 1.1 protocol of Secrets Manager and
CloudTrail, on one host and port: the service that a request is signed for decides. An operation of AWS's
that is not listed here answers `NotImplemented` (501) and is named in the answer; one that AWS does not
have either answers `InvalidAction` (400), in JSON `UnknownOperationException`. What differs from AWS stands in
[Differences from AWS](../explanation/differences-from-aws.md).
"""

OUR_PATHS = """## Paths of our own

Unauthenticated, GET only, JSON; they say nothing about users or keys.

| path | what it answers |
|---|---|
| `/-/live` | the process turns |
| `/-/ready` | it can answer; `low_on_space` is true while the disk is full |
| `/-/about` | product, version, and what a rotation tool may rely on: `exact_revocation`, \
`reports_refused_attempts`, `idempotent_create` |
"""


def commands() -> str:
    os.environ["COLUMNS"] = "100"
    pages = (
        f"## {each.prog}\n\n```\n{each.format_help().strip()}\n```\n" for each in parsers(parser_for(None))
    )
    return "\n".join([COMMANDS, *pages])


def api() -> str:
    assert REGISTERED, "importing the wiring registers the operations"
    parts = [API]
    for service, contract in load_contracts(OFFERED_SERVICES).items():
        offered = sorted(name for held, name in OPERATIONS if held == service)
        rows = [
            f"| {name} | {'yes' if OPERATIONS[service, name].writes else 'no'} |"
            f" {'yes' if OPERATIONS[service, name].needs_permission else 'no, and no Deny stops it'} |\n"
            for name in offered
        ]
        heading = f"## {service}: {len(offered)} of {len(contract.operations)} operations"
        columns = "| operation | changes something | needs permission |\n|---|---|---|\n"
        parts.append(f"{heading}\n\n{columns}{''.join(rows)}")
    return "\n".join([*parts, OUR_PATHS])


def main() -> None:
    for name, text in (("commands.md", commands()), ("api.md", api())):
        (REFERENCE / name).write_text(text, encoding="utf-8")
        print(f"wrote docs/reference/{name}")


if __name__ == "__main__":
    main()
