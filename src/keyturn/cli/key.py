"""`keyturn key create|list`: through the signed API, as any client does it, so policies and audit see it."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from keyturn.cli import terminal
from keyturn.cli.place_options import add_place_options
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient

_EXAMPLES = """examples:
  keyturn key create ci-deploy-bot --csv ci-deploy-bot.csv
  aws configure import --csv file://ci-deploy-bot.csv
  keyturn key list
  keyturn key list ci-deploy-bot --output json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    create = acts.add_parser(
        "create",
        help="give a user a key, and write it to a file",
        epilog="example:\n  keyturn key create ci-deploy-bot --csv ci-deploy-bot.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    create.set_defaults(run=_create)
    create.add_argument("user", metavar="USER")
    create.add_argument(
        "--csv", metavar="FILE", required=True, help="a new 0600 file that `aws configure import` reads"
    )
    listing = acts.add_parser(
        "list",
        help="keys with their ages and last use",
        epilog="example:\n  keyturn key list --output json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    listing.set_defaults(run=_list)
    listing.add_argument("user", metavar="USER", nargs="?")
    listing.add_argument("--output", choices=("table", "json"), default="table")
    for command in (create, listing):
        add_place_options(command)
        command.add_argument("--region", default="us-east-1", help="default: us-east-1")


def _client(options: argparse.Namespace) -> IAMClient:
    from keyturn.aws_clients import iam_client
    from keyturn.settings import place
    from keyturn.wiring import reach

    here = reach(place(vars(options)))
    return iam_client(
        here.endpoint_url,
        region=options.region,
        access_key_id=here.credentials.access_key_id,
        secret=here.credentials.secret,
    )


def _create(options: argparse.Namespace) -> int:
    from keyturn.signed_calls import told_by_endpoint
    from keyturn.store.private_files import new_private_file

    client = _client(options)
    path = Path(options.csv)
    access_key_id = None
    try:
        # The file first: a key whose secret can't be written down must not come to be.
        with (
            new_private_file(path) as temporary,
            told_by_endpoint(),
            temporary.open("w", encoding="utf-8") as file,
        ):
            file.write("User Name,Access key ID,Secret access key\n")
            file.flush()
            key = client.create_access_key(UserName=options.user)["AccessKey"]
            access_key_id = key["AccessKeyId"]
            secret = Secret(key["SecretAccessKey"].encode())
            file.write(f"{key['UserName']},{access_key_id},{secret.reveal().decode()}\n")
    except BaseException:
        if access_key_id is not None:
            _take_back(client, options.user, access_key_id)
        raise
    terminal.say(f"the secret stands in {path} and can't be shown again")
    terminal.result(access_key_id)
    return terminal.OK


def _take_back(client: IAMClient, user: str, access_key_id: str) -> None:
    """Nobody holds the secret of this key: it must not stay."""
    from keyturn.signed_calls import told_by_endpoint

    try:
        with told_by_endpoint():
            client.delete_access_key(UserName=user, AccessKeyId=access_key_id)
    except KeyturnError as error:
        terminal.say(
            f"the key {access_key_id} exists and nobody holds its secret: delete it ({error.message})"
        )


def _list(options: argparse.Namespace) -> int:
    from keyturn.signed_calls import told_by_endpoint

    client = _client(options)
    now = datetime.now(UTC)
    rows = []
    with told_by_endpoint():
        if options.user:
            names = [options.user]
        else:
            pages = client.get_paginator("list_users").paginate()
            names = [user["UserName"] for page in pages for user in page["Users"]]
        for name in names:
            for key in client.list_access_keys(UserName=name)["AccessKeyMetadata"]:
                access_key_id = key["AccessKeyId"]
                used = client.get_access_key_last_used(AccessKeyId=access_key_id)["AccessKeyLastUsed"]
                last = used.get("LastUsedDate")
                rows.append(
                    (
                        name,
                        access_key_id,
                        key["Status"],
                        _age(now, key["CreateDate"]),
                        "never" if last is None else f"{_age(now, last)} ago",
                        used["ServiceName"],
                    )
                )
    terminal.table(("User", "Access key id", "Status", "Age", "Last used", "Service"), rows, options.output)
    return terminal.OK


def _age(now: datetime, then: datetime) -> str:
    return terminal.age(int((now - then).total_seconds() * 1000))
