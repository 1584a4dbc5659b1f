"""An access key id carries its account, whatever the account and the randomness."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.model.access_keys import (
    AccessKeyId,
    AccountId,
    account_of,
    mint_access_key,
    parse_access_key_id,
    parse_account_id,
)

ACCOUNTS = st.integers(1, 10**12 - 1).map(lambda number: AccountId(f"{number:012d}"))


def given_bytes(content: bytes) -> Callable[[int], bytes]:
    """Randomness that is not random: the content, in the order in which it is asked for."""
    left = bytearray(content)

    def take(size: int) -> bytes:
        taken = bytes(left[:size])
        del left[:size]
        assert len(taken) == size
        return taken

    return take


@given(ACCOUNTS, st.binary(min_size=35, max_size=35))
def test_the_account_that_was_minted_in_is_read_back(account_id: AccountId, content: bytes) -> None:
    new = mint_access_key(account_id, given_bytes(content))
    assert re.fullmatch("AKIA[A-Z2-7]{16}", new.access_key_id)
    assert parse_access_key_id(new.access_key_id) == new.access_key_id
    assert account_of(new.access_key_id) == account_id


@given(ACCOUNTS, st.binary(min_size=35, max_size=35))
def test_a_secret_has_forty_characters_that_need_no_quoting(account_id: AccountId, content: bytes) -> None:
    secret = mint_access_key(account_id, given_bytes(content)).secret.reveal()
    assert re.fullmatch(b"[A-Za-z0-9+/]{40}", secret)


@given(ACCOUNTS, st.binary(min_size=5, max_size=5), st.binary(min_size=5, max_size=5))
def test_39_random_bits_tell_ids_of_one_account_apart(
    account_id: AccountId, one: bytes, other: bytes
) -> None:
    ids = {mint_access_key(account_id, given_bytes(part + bytes(30))).access_key_id for part in (one, other)}
    same = int.from_bytes(one, "big") >> 1 == int.from_bytes(other, "big") >> 1
    assert len(ids) == (1 if same else 2)
    assert len({access_key_id[:12] for access_key_id in ids}) == 1


@pytest.mark.parametrize(
    ("access_key_id", "account_id"),
    [
        ("ASIAQNZGKIQY56JQ7WML", "029608264753"),  # published together with its account
        ("AKIAIOSFODNN7EXAMPLE", None),  # AWS's own example, of before the encoding: its top bit is 0
        ("AKIA7777777777777777", None),  # more than twelve digits
    ],
)
def test_ids_of_awss_own_are_read_as_aws_reads_them(access_key_id: str, account_id: str | None) -> None:
    assert account_of(AccessKeyId(access_key_id)) == account_id


@given(st.text(max_size=24))
def test_whatever_has_the_shape_of_an_id_can_be_asked_for_its_account(text: str) -> None:
    access_key_id = parse_access_key_id(text)
    if access_key_id is not None:
        account_of(access_key_id)


@given(st.binary(min_size=10, max_size=10), st.sampled_from(("AKIA", "ASIA")))
def test_the_account_of_any_id_is_a_possible_one(content: bytes, prefix: str) -> None:
    text = prefix + base64.b32encode(content).decode()
    access_key_id = parse_access_key_id(text)
    assert access_key_id is not None
    account_id = account_of(access_key_id)
    assert account_id is None or re.fullmatch("[0-9]{12}", account_id)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AKIA",
        "AKIAIOSFODNN7EXAMPL",
        "AKIAIOSFODNN7EXAMPLE\n",
        "akiaiosfodnn7example",
        "AKIAIOSFODNN7EXAMPL1",
        "AIDAIOSFODNN7EXAMPLE",
    ],
)
def test_what_has_another_shape_is_no_id(text: str) -> None:
    assert parse_access_key_id(text) is None


@pytest.mark.parametrize(
    ("text", "account_id"),
    [
        ("123456789012", "123456789012"),
        ("000000000001", "000000000001"),
        ("000000000000", None),
        ("12345678901", None),
        ("1234567890123", None),
        ("12345678901a", None),
        ("123456789012\n", None),
        ("١٢٣٤٥٦٧٨٩٠١٢", None),
    ],
)
def test_an_account_id_is_twelve_ascii_digits_and_not_all_zeros(text: str, account_id: str | None) -> None:
    assert parse_account_id(text) == account_id
