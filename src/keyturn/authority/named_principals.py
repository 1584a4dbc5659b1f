"""Whom a trust or resource policy names: kept by unique ids, shown by ARNs as long as they exist.

A user or role who is made anew under an old name is somebody else, and nobody has trusted them. Who belongs to
another account is kept as written: whether they exist, only that account knows. Source: IAM user guide,
"AWS JSON policy elements: Principal".
"""

from __future__ import annotations

import re
from typing import Final

from keyturn.authority.storage import roles as role_rows
from keyturn.authority.storage import users as user_rows
from keyturn.model.access_keys import AccountId
from keyturn.model.arns import assumed_role_arn
from keyturn.model.principals import UserId
from keyturn.policy.elements import with_principals
from keyturn.policy.validation import MalformedPolicyDocumentError
from keyturn.store.interface import Reader

_ARN: Final = re.compile(
    r"arn:aws:(?:iam|sts)::(?P<account>[0-9]{12}):(?P<kind>user|role|assumed-role)/(?P<name>[!-~]+)\Z"
)
_SESSION_NAME: Final = re.compile(r"[\w+=,.@-]{2,64}\Z", re.ASCII)
_UNIQUE_ID: Final = re.compile(r"(?P<id>(?P<prefix>AIDA|AROA)[A-Z0-9]+)(?::(?P<session>.+))?\Z")


def by_unique_ids(reader: Reader, account_id: AccountId, document: str) -> str:
    """The document as it is kept. Raises MalformedPolicyDocumentError for who does not exist."""

    def unique_id(text: str) -> str:
        found = _unique_id(reader, account_id, text)
        if found is None:
            raise MalformedPolicyDocumentError(f'Invalid principal in policy: "AWS":"{text}"')
        return found

    return with_principals(document, unique_id)


def by_arns(reader: Reader, account_id: AccountId, document: str) -> str:
    """The document as it is shown: a unique id is what is left of somebody who is gone."""
    if "AIDA" not in document and "AROA" not in document:
        return document
    return with_principals(document, lambda text: _arn_of(reader, account_id, text) or text)


def _unique_id(reader: Reader, account_id: AccountId, text: str) -> str | None:
    """None for somebody of this account who does not exist; the text itself where there is nothing to look up."""
    if _UNIQUE_ID.match(text):
        return None if _arn_of(reader, account_id, text) is None else text
    arn = _ARN.match(text)
    if arn is None or arn["account"] != account_id:
        return text
    if arn["kind"] == "user":
        user = user_rows.user_by_name(reader, account_id, arn["name"].rpartition("/")[2])
        return None if user is None or user.arn != text else user.user_id
    if arn["kind"] == "role":
        row = role_rows.role_by_name(reader, account_id, arn["name"].rpartition("/")[2])
        return None if row is None or row.role.arn != text else row.role.role_id
    name, _, session = arn["name"].partition("/")
    row = role_rows.role_by_name(reader, account_id, name)
    if row is None or row.role.name != name or not _SESSION_NAME.match(session):
        return None
    return f"{row.role.role_id}:{session}"


def _arn_of(reader: Reader, account_id: AccountId, text: str) -> str | None:
    """Of a unique id whose holder exists."""
    found = _UNIQUE_ID.match(text)
    if found is None:
        return None
    if found["prefix"] == "AIDA":
        user = user_rows.user_by_id(reader, UserId(found["id"]))
        return None if user is None or user.account_id != account_id or found["session"] else user.arn
    row = role_rows.role_by_id(reader, found["id"])
    if row is None or row.role.account_id != account_id:
        return None
    session: str | None = found["session"]
    return row.role.arn if session is None else assumed_role_arn(account_id, row.role.name, session)
