"""`keyturn VERB`: finds the verb's file and runs it. Imports only that one, so that `--help` is quick.

The help of the whole is written from the table of verbs, without a parser: loading one costs more than all the rest.
"""

from __future__ import annotations

import sys

from keyturn.cli import terminal
from keyturn.model.errors import InUseError, KeyturnError, StoreUnavailableError

TYPE_CHECKING = False  # not from `typing`: see the `terminal`
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Final

VERBS: Final = {
    "serve": "start the authority and stay",
    "env": "print the exports that point `aws` and the SDKs here",
    "key": "create and list access keys",
    "scan": "find leaked keys in directories, repositories, images and streams",
    "leak": "kill a leaked key first, then clean up and replace it",
    "keys": "all keys: age, last use, who uses them, what to do",
    "why": "the evidence for one key",
    "plan": "what a rotation would do, and whether it may",
    "apply": "begin what was planned, and carry it on",
    "status": "open rotations: what each waits for, and until when",
    "resume": "go on with a rotation",
    "pause": "let a rotation stand still",
    "rollback": "give every sink the old key back",
    "abort": "give a rotation up that no sink has heard of",
    "rehearse": "deactivate a key for a while, to hear who misses it",
    "sink": "where keys are delivered, and whether that works",
    "creds": "hand a key to an SDK, as its credential_process",
    "schedule": "when keys are rotated, and who is due",
    "run": "one tick: carry on whatever is due",
    "usage": "who used a key, and who was refused",
    "audit": "verify the audit trail",
    "backup": "copy the database while it is in use",
    "admin": "get back in: a new administrator key",
    "master-key": "replace the master key",
    "account": "what the account has set for itself",
    "report": "what to look at: no second factor, unused keys, old keys, the CIS benchmark",
    "doctor": "whether a rotation could start here",
    "completion": "what a shell needs to complete these words",
    "help": "the help of a verb, or what the exit codes mean",
}

_USAGE: Final = "usage: keyturn [-h] [--version] VERB ..."
_EXAMPLES: Final = """examples:
  keyturn serve
  eval "$(keyturn env)" && aws iam list-users
  keyturn VERB --help
  keyturn help exit-codes"""


def overview() -> str:
    """What `keyturn --help` prints."""
    wide = max(map(len, VERBS))
    verbs = "\n".join(f"  {name.ljust(wide)}  {summary}" for name, summary in VERBS.items())
    return (
        f"{_USAGE}\n\nAn access-key authority that a team runs itself.\n\nverbs:\n{verbs}\n\noptions:\n"
        f"  -h, --help  show this help message and exit\n  --version   print the version and exit\n\n{_EXAMPLES}\n"
    )


def parser_for(verb: str) -> argparse.ArgumentParser:
    """The parser of one verb."""
    import argparse
    from importlib import import_module

    class Formatter(argparse.RawDescriptionHelpFormatter):
        def __init__(self, prog: str) -> None:
            super().__init__(prog, width=terminal.width() - 2)

    summary = VERBS[verb]
    parser = argparse.ArgumentParser(
        prog=f"keyturn {verb}",
        description=summary[0].upper() + summary[1:] + ".",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    import_module(f"keyturn.cli.{verb.replace('-', '_')}").configure(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    verb = arguments[0] if arguments else ""
    if verb in VERBS:
        return _run(verb, arguments[1:])
    if verb == "--version":
        from importlib.metadata import version

        terminal.result(f"keyturn {version('keyturn')}")
        return terminal.OK
    if verb in {"", "-h", "--help"}:
        terminal.result(overview().rstrip("\n"))
        return terminal.OK if verb else terminal.USAGE
    from difflib import get_close_matches

    near = get_close_matches(verb, VERBS, n=1)
    terminal.say(_USAGE)
    what = "there is no option" if verb.startswith("-") else "there is no verb"
    terminal.fail(
        f"{what} {verb!r}", f"is `keyturn {near[0]}` meant?" if near else "`keyturn --help` lists them"
    )
    return terminal.USAGE


def _run(verb: str, arguments: Sequence[str]) -> int:
    try:
        if verb == "status" and not arguments:
            from keyturn.cli import status

            return status.run(status.Plain())
        options = parser_for(verb).parse_args(arguments)
        return int(options.run(options))
    except InUseError as error:
        terminal.fail(error.message, error.hint)
        return terminal.LOCKED
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
