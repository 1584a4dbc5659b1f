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


def role_arn(account_id: AccountId, path: str, name: str) -> str:
    return f"arn:aws:iam::{account_id}:role{path}{name}"


def assumed_role_arn(account_id: AccountId, role_name: str, session_name: str) -> str:
    """Without the role's path, as STS writes it."""
    return f"arn:aws:sts::{account_id}:assumed-role/{role_name}/{session_name}"


def federated_user_arn(account_id: AccountId, name: str) -> str:
    return f"arn:aws:sts::{account_id}:federated-user/{name}"


def instance_profile_arn(account_id: AccountId, path: str, name: str) -> str:
    return f"arn:aws:iam::{account_id}:instance-profile{path}{name}"


def oidc_provider_arn(account_id: AccountId, host_and_path: str) -> str:
    return f"arn:aws:iam::{account_id}:oidc-provider/{host_and_path}"


def mfa_arn(account_id: AccountId, path: str, name: str) -> str:
    return f"arn:aws:iam::{account_id}:mfa{path}{name}"
