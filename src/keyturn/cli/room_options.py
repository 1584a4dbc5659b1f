"""The options that say where rotations are kept, for `status` too: so it loads next to nothing."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from keyturn.cli.status import Plain


def add_room_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="default: $XDG_CONFIG_HOME/keyturn/keyturn.toml")
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help="where rotations are kept; default: $XDG_STATE_HOME/keyturn/rotations",
    )


def state_directory(options: argparse.Namespace | Plain) -> str:
    from keyturn.model.directories import state_directory

    named = options.state_dir or os.environ.get("KEYTURN_STATE_DIR")
    if named:
        return os.path.abspath(os.path.expanduser(named))  # noqa: PTH100, PTH111 - pathlib costs too much here
    return f"{state_directory(os.environ)}/rotations"
