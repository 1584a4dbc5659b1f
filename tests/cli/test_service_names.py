"""`--services`: the authority's own, and the names of a team's."""

from __future__ import annotations

import pytest

from keyturn.model.errors import KeyturnError
from keyturn.settings import OFFERED_SERVICES, serve_settings

HOME = {"HOME": "/home/a"}


@pytest.mark.parametrize(
    ("text", "offered", "own"),
    [
        ("", OFFERED_SERVICES, ()),
        ("iam", ("iam",), ()),
        ("iam,sts,orders", ("iam", "sts"), ("orders",)),
        ("s3,orders", OFFERED_SERVICES, ("s3", "orders")),
        ("orders, orders ,my-api2", OFFERED_SERVICES, ("orders", "my-api2")),
        ("a" * 64, OFFERED_SERVICES, ("a" * 64,)),
    ],
)
def test_names_beside_those_offered_are_services_of_ones_own(
    text: str, offered: tuple[str, ...], own: tuple[str, ...]
) -> None:
    settings = serve_settings({"services": text}, HOME)
    assert (settings.services, settings.own_services) == (offered, own)


@pytest.mark.parametrize("name", ["Orders", "or ders", "orders/1", "a" * 65, "orders.example", "é"])
def test_what_no_credential_scope_can_hold_is_no_name(name: str) -> None:
    with pytest.raises(KeyturnError, match="can't be the name of a service"):
        serve_settings({"services": f"iam,{name}"}, HOME)


def test_the_scope_of_verify_calls_is_not_to_be_had() -> None:
    with pytest.raises(KeyturnError, match="the authority's own"):
        serve_settings({"services": "iam,sts,keyturn"}, HOME)


def test_there_is_a_most_of_services() -> None:
    with pytest.raises(KeyturnError, match="100 is the most"):
        serve_settings({"services": ",".join(f"s{number}" for number in range(101))}, HOME)
