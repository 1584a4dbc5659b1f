"""A key pair as two fields of an object: taken out, put in with the other fields kept, and held against a promise.

What the object lies in (a JSON text, a secret of a vault, two variables) and how it travels is each sink's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from keyturn.model.access_keys import AccessKeyPair, parse_access_key_id
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.interface import Field, Held

ID_FIELD: Final = Field(
    "id_field", str, "The field that holds the access key id; AWS_ACCESS_KEY_ID unless set."
)
SECRET_FIELD: Final = Field(
    "secret_field", str, "The field that holds the secret; AWS_SECRET_ACCESS_KEY unless set."
)
CREATE: Final = Field("create", bool, "Create it if it is missing; false unless set.")

NOTHING: Final = Held(None, None, None)


class FieldNames:
    """Under which names an object holds the two halves."""

    __slots__ = ("access_key_id", "secret")

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.access_key_id: str = settings.get("id_field") or "AWS_ACCESS_KEY_ID"
        self.secret: str = settings.get("secret_field") or "AWS_SECRET_ACCESS_KEY"


def read_json(text: Secret) -> Any:
    """The JSON value, or None for what is not JSON or can't be written back as it was.

    A name that stands twice and a number that a float does not hold would be lost by writing the object again.
    The parser's error is dropped, not chained: it carries the text.
    """
    try:
        return json.loads(
            text.reveal(), object_pairs_hook=_once_each, parse_float=_exactly, parse_constant=_refuse
        )
    except (ValueError, ArithmeticError, RecursionError):
        return None


def write_json(value: Mapping[str, Any]) -> Secret:
    return Secret(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())


def pair_of(access_key_id: object, secret: object) -> AccessKeyPair | None:
    """The two texts as a pair, or None if they are not one."""
    if not isinstance(access_key_id, str) or not isinstance(secret, str) or not secret:
        return None
    known = parse_access_key_id(access_key_id)
    return None if known is None else AccessKeyPair(known, Secret(secret.encode()))


def held_in(fields: Mapping[str, Any], names: FieldNames, version: str | None) -> Held:
    access_key_id = fields.get(names.access_key_id)
    shown = parse_access_key_id(access_key_id) if isinstance(access_key_id, str) else None
    return Held(shown, pair_of(access_key_id, fields.get(names.secret)), version)


def as_fields(pair: AccessKeyPair, names: FieldNames) -> dict[str, str]:
    """What the object holds for the pair: to be put into it, and the object into a `Secret`, at once."""
    return {names.access_key_id: pair.access_key_id, names.secret: pair.secret.reveal().decode()}


def is_same(one: AccessKeyPair | None, other: AccessKeyPair | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.access_key_id == other.access_key_id and one.secret == other.secret


def is_as_expected(now: Held, expect: Held) -> bool:
    """Whether a sink that shows its pair holds what was expected: other fields may have changed since."""
    if now.pair is None and expect.pair is None:
        return now.access_key_id == expect.access_key_id and now.version == expect.version
    return is_same(now.pair, expect.pair)


def is_on_the_way(now: Held, expect: Held, pair: AccessKeyPair) -> bool:
    """Whether each half is what was expected or already the new one: what a write of two halves leaves if cut."""
    if now.access_key_id not in {expect.access_key_id, pair.access_key_id}:
        return False
    if now.pair is None:
        return expect.pair is None
    held = now.pair.secret
    return held == pair.secret or (expect.pair is not None and held == expect.pair.secret)


def _once_each(members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a name stands twice")
    return found


def _exactly(text: str) -> float:
    number = float(text)
    if Decimal(repr(number)) != Decimal(text):
        raise ValueError("a float does not hold it")
    return number


def _refuse(_constant: str) -> float:
    raise ValueError("not a number of JSON")
