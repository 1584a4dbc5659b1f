"""Writes docs/reference/commands.md, api.md and rotation.md from the program itself.

Usage: python tools/generate_reference.py. A test fails when what is checked in is not what this writes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from keyturn.authority.operations import OPERATIONS
from keyturn.cli.help import EXIT_CODES
from keyturn.cli.main import VERBS, overview, parser_for
from keyturn.rotation.configuration import FLOORS, LENGTHS, Schedule, described
from keyturn.rotation.progress import Terms
from keyturn.rotation.sinks.interface import Field, SinkType
from keyturn.rotation.sinks.registry import BUILT_IN, all_types
from keyturn.rotation.usage import spell
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

## Exit codes

What `keyturn help exit-codes` prints. Each verb of a rotation names those that it ends with in its own help. A code
that stands here twice depends on the verb.

| exit code | meaning |
|---|---|
{exit_codes}

## keyturn

```
{overview}
```
"""

ROTATION = """# Rotation: keyturn.toml

What may stand in `keyturn.toml` for rotations. A field that is not listed here, or has the wrong kind, is an error
that names the line; `keyturn doctor` reads the whole file. A length of time is written as `90s`, `15min`, `6h`,
`35d` or `2w`. The table `[serve]` stands in [Settings](settings.md), the files in [Files](files.md), the commands in
[Commands](commands.md).

```toml
[rotation]
keep_inactive = "35d"

[sinks.profile]
type = "credentials_file"
profile = "ci"

[users."ci-deploy"]
sinks = ["profile"]
check = ["/usr/local/bin/ci-is-healthy"]

[schedule]
every = "90d"
windows = ["mon-thu 09:00-15:00"]
unused_after = "90d"

[[exemptions]]
user = "legacy"
owner = "ana"
until = "2027-01-31"
reason = "goes away with the old data centre"
```
"""

FLOORS_TEXT = """## The least that is accepted

Where a change of a key holds at once (`/-/about` of the endpoint says so), every length above 0 is accepted. Elsewhere,
on AWS too, a plan is blocked if one of these is shorter:

| field | at least |
|---|---|
{rows}
| `proofs` | 3 |
| `unused_after` | 1 d |
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


def all_parsers() -> Iterator[argparse.ArgumentParser]:
    for verb in VERBS:
        yield from parsers(parser_for(verb))


def commands() -> str:
    os.environ["COLUMNS"] = "100"
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES)
    pages = (f"## {each.prog}\n\n```\n{each.format_help().strip()}\n```\n" for each in all_parsers())
    return "\n".join([COMMANDS.format(exit_codes=codes, overview=overview().strip()), *pages])


def rotation() -> str:
    defaults = {
        "rotation": Terms(),
        "users.NAME": Terms(),
        "schedule": Schedule(),
        "sinks.NAME": None,
        "[exemptions]": None,
    }
    parts = [ROTATION]
    for table, listed in described():
        rows = "\n".join(_row(field, defaults[table], is_inherited=table == "users.NAME") for field in listed)
        parts.append(f"## [{table}]\n\n| field | kind | default | what it is |\n|---|---|---|---|\n{rows}\n")
        if table == "sinks.NAME":
            parts += [_sink_section(name, kind.fields) for name, kind in built_in_types().items()]
    floors = "\n".join(f"| `{name}` | {spell(least)} |" for name, least in FLOORS.items())
    return "\n".join([*parts, FLOORS_TEXT.format(rows=floors)])


def built_in_types() -> dict[str, SinkType]:
    """Those of plugins that happen to be installed are not ours to tell of."""
    return {name: each for name, each in all_types().items() if name in BUILT_IN}


def _sink_section(name: str, fields: Sequence[Field]) -> str:
    rows = "\n".join(_row(field, None, is_inherited=False) for field in fields)
    about = (sys.modules[f"keyturn.rotation.sinks.{name}"].__doc__ or "").strip().split("\n\n")[0]
    about = " ".join(about.split())
    return f'### type = "{name}"\n\n{about}\n\n| field | kind | default | what it is |\n|---|---|---|---|\n{rows}\n'


def _row(field: Field, defaults: object, *, is_inherited: bool) -> str:
    held = getattr(defaults, field.name, None)
    kinds = {str: "text", int: "number", bool: "true or false"}
    kind = "length of time" if field.name in LENGTHS else kinds.get(field.kind, "list of texts")
    if field.is_required:
        default = "must stand there"
    elif held is None or held == ():
        default = ""
    elif is_inherited:
        default = "as in `[rotation]`"
    elif isinstance(held, bool):
        default = f"`{str(held).lower()}`"
    else:
        default = spell(held) if field.name in LENGTHS else f"`{held}`"
    return f"| `{field.name}` | {kind} | {default} | {field.help} |"


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
    for name, text in (("commands.md", commands()), ("api.md", api()), ("rotation.md", rotation())):
        (REFERENCE / name).write_text(text, encoding="utf-8")
        print(f"wrote docs/reference/{name}")


if __name__ == "__main__":
    main()
