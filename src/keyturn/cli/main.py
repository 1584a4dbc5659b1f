"""`keyturn VERB`: finds the verb's file and runs it. Imports only that one, so that `--help` is quick."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from keyturn.cli import terminal
from keyturn.model.errors import KeyturnError, StoreUnavailableError

VERBS: Final = {
    "serve": "start the authority and stay",
    "env": "print the exports that point `aws` and the SDKs here",
    "key": "create and list access keys",
    "usage": "who used a key, and who was refused",
    "audit": "verify the audit trail",
    "backup": "copy the database while it is in use",
    "admin": "get back in: a new administrator key",
    "master-key": "replace the master key",
    "account": "what the account has set for itself",
    "report": "what to look at: key holders without a second factor",
}

_DESCRIPTION: Final = "An access-key authority that a team runs itself."


def parser_for(verb: str | None) -> argparse.ArgumentParser:
    """The whole parser, with the options of one verb filled in; of all of them for None."""
    parser = argparse.ArgumentParser(
        prog="keyturn",
        description=_DESCRIPTION,
        epilog='examples:\n  keyturn serve\n  eval "$(keyturn env)" && aws iam list-users\n'
        "  keyturn VERB --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, summary in VERBS.items():
        command = verbs.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if verb in {None, name}:
            import_module(f"keyturn.cli.{name.replace('-', '_')}").configure(command)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    verb = next((word for word in arguments if not word.startswith("-")), "")
    parser = parser_for(verb)
    options = parser.parse_args(arguments)
    if options.version:
        from importlib.metadata import version

        terminal.result(f"keyturn {version('keyturn')}")
        return terminal.OK
    if options.verb is None:
        parser.print_help()
        return terminal.USAGE
    try:
        return int(options.run(options))
    except KeyturnError as error:
        terminal.fail(error.message, error.hint)
        return terminal.FAILED
    except StoreUnavailableError as error:
        terminal.fail(str(error), "nothing of it has happened: try again when it can be written")
        return terminal.FAILED
    except BrokenPipeError:
        return terminal.FAILED
    except OSError as error:
        terminal.fail(str(error))
        return terminal.FAILED
    except KeyboardInterrupt:
        return terminal.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
