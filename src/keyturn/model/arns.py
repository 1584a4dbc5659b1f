"""Amazon Resource Names of the things an authority holds (IAM user guide, "IAM identifiers")."""

from __future__ import annotations

from keyturn.model.access_keys import AccountId


def user_arn(account_id: AccountId, path: str, name: str) -> str:
    return f"arn:aws:iam::{account_id}:user{path}{name}"


def group_arn(account_id: AccountId, path: str, name: str) -> str:
    return f"arn:aws:iam::{account_id}:group{path}{name}"


def policy_arn(account_id: AccountId, path: str, name: str) -> str:
    return f"arn:aws:iam::{account_id}:policy{path}{name}"


def account_root_arn(account_id: AccountId) -> str:
    return f"arn:aws:iam::{account_id}:root"
