"""The options that say which authority a verb is about."""

from __future__ import annotations

import argparse


def add_place_options(parser: argparse.ArgumentParser, *, key: bool = False, mark: bool = False) -> None:
    parser.add_argument("--data-dir", metavar="DIR", help="default: $XDG_DATA_HOME/keyturn")
    parser.add_argument("--config", metavar="FILE", help="default: $XDG_CONFIG_HOME/keyturn/keyturn.toml")
    if key:
        parser.add_argument(
            "--key-file", metavar="FILE", help="the master key; see `docs/reference/files.md`"
        )
    if mark:
        parser.add_argument(
            "--mark-file", metavar="FILE", help="default: $XDG_STATE_HOME/keyturn/INSTANCE.mark"
        )
