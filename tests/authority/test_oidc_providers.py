"""OpenID Connect providers on the wire."""

from __future__ import annotations

from typing import Any

import pytest

from authority.role_calls import account_of, answer, missing, refusal, too_many_tags
from living_authority import LivingAuthority

A, B, C = "a" * 40, "b" * 40, "c" * 40


def new_provider(authority: LivingAuthority, host: str, **more: Any) -> str:
    """The new provider's ARN."""
    created = authority.iam().create_open_id_connect_provider(Url=f"https://{host}", **more)
    return created["OpenIDConnectProviderArn"]


def test_a_provider_has_exactly_the_members_that_aws_gives_one(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    created = iam.create_open_id_connect_provider(
        Url="https://plain.example/tenant/", ThumbprintList=[B, A], ClientIDList=["client-id-1"]
    )
    arn = f"arn:aws:iam::{account_of(shared_authority)}:oidc-provider/plain.example/tenant/"
    assert answer(created) == {"OpenIDConnectProviderArn": arn}
    got = answer(iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn))
    assert got.pop("CreateDate")
    assert got == {
        "Url": "plain.example/tenant/",
        "ClientIDList": ["client-id-1"],
        "ThumbprintList": [B, A],
        "Tags": [],
    }
    assert {"Arn": arn} in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]


def test_an_account_without_providers_lists_none(authority: LivingAuthority) -> None:
    assert answer(authority.iam().list_open_id_connect_providers()) == {"OpenIDConnectProviderList": []}


def test_a_url_has_one_provider(shared_authority: LivingAuthority) -> None:
    new_provider(shared_authority, "twice.example")
    refused = refusal(shared_authority.iam().create_open_id_connect_provider, Url="https://twice.example")
    message = "Provider with url https://twice.example already exists."
    assert refused == ("EntityAlreadyExists", 409, message)


@pytest.mark.parametrize(
    "url",
    [
        "example.org",
        "http://example.org",
        "HTTPS://example.org",
        "https://",
        "https:///path",
        "https://user@example.org",
        "https://example.org?query",
        "https://example.org/#fragment",
        "https://example.org:port",
        "https://*.example.org",
        "https://example.org/*",
        "https://example.org/a b",
        "https://exämple.org",
        " https://example.org",
        "https://example.org\n",
    ],
)
def test_a_url_that_is_no_issuers_is_refused(shared_authority: LivingAuthority, url: str) -> None:
    refused = refusal(shared_authority.iam().create_open_id_connect_provider, Url=url)
    assert refused == ("ValidationError", 400, "Invalid Open ID Connect Provider URL")


def test_what_breaks_the_models_constraints_is_said_in_one_answer(shared_authority: LivingAuthority) -> None:
    refused = refusal(
        shared_authority.iam().create_open_id_connect_provider,
        Url="b" * 256,
        ThumbprintList=["b" * 41],
        ClientIDList=["b" * 256],
    )
    message = (
        "3 validation errors detected: Value at 'clientIDList' failed to satisfy constraint: Member must satisfy"
        " constraint: [Member must have length less than or equal to 255, Member must have length greater than or"
        " equal to 1]; Value at 'thumbprintList' failed to satisfy constraint: Member must satisfy constraint:"
        " [Member must have length less than or equal to 40, Member must have length greater than or equal to 40];"
        " Value at 'url' failed to satisfy constraint: Member must have length less than or equal to 255"
    )
    assert refused[:2] == ("ValidationError", 400)
    assert refused[2] == message


def test_a_provider_has_at_most_five_thumbprints_and_a_hundred_client_ids(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    url = "https://full.example"
    prints = [digit * 40 for digit in "abcdef"]
    clients = [str(number) for number in range(101)]
    too_many_prints = ("InvalidInput", 400, "Thumbprint list must contain fewer than 5 entries.")
    too_many_clients = (
        "LimitExceeded",
        409,
        "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100",
    )
    create = iam.create_open_id_connect_provider
    assert refusal(create, Url=url, ThumbprintList=prints) == too_many_prints
    assert refusal(create, Url=url, ClientIDList=clients) == too_many_clients

    arn = new_provider(
        shared_authority, "full.example", ThumbprintList=prints[:5], ClientIDList=clients[:100]
    )
    named = {"OpenIDConnectProviderArn": arn}
    update = iam.update_open_id_connect_provider_thumbprint
    assert refusal(update, **named, ThumbprintList=prints) == too_many_prints
    add = iam.add_client_id_to_open_id_connect_provider
    assert refusal(add, **named, ClientID="one-more") == too_many_clients
    add(**named, ClientID="99")


def test_client_ids_and_thumbprints_change_and_repeating_a_change_does_nothing(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    arn = new_provider(shared_authority, "changing.example", ThumbprintList=[A], ClientIDList=["one"])

    def lists() -> tuple[list[str], list[str]]:
        got = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        return got["ClientIDList"], got["ThumbprintList"]

    for _ in range(2):
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="two")
    assert lists() == (["one", "two"], [A])
    for _ in range(2):
        iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="one")
    assert lists() == (["two"], [A])
    iam.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=arn, ThumbprintList=[C, B])
    assert lists() == (["two"], [C, B])


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("get_open_id_connect_provider", {}),
        ("add_client_id_to_open_id_connect_provider", {"ClientID": "a"}),
        ("remove_client_id_from_open_id_connect_provider", {"ClientID": "a"}),
        ("update_open_id_connect_provider_thumbprint", {"ThumbprintList": [A]}),
        ("tag_open_id_connect_provider", {"Tags": [{"Key": "a", "Value": "b"}]}),
        ("untag_open_id_connect_provider", {"TagKeys": ["a"]}),
        ("list_open_id_connect_provider_tags", {}),
    ],
)
def test_an_unknown_provider_is_named_in_the_refusal(
    shared_authority: LivingAuthority, operation: str, parameters: dict[str, Any]
) -> None:
    arn = f"arn:aws:iam::{account_of(shared_authority)}:oidc-provider/non-existent.example.com"
    act = getattr(shared_authority.iam(), operation)
    refused = refusal(act, OpenIDConnectProviderArn=arn, **parameters)
    assert refused == missing(f"OpenIDConnect Provider not found for arn {arn}")


def test_a_provider_is_deleted_once_with_all_that_was_its_own(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    tags = [{"Key": "a", "Value": "b"}]
    arn = new_provider(shared_authority, "gone.example", ThumbprintList=[A], ClientIDList=["one"], Tags=tags)
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    refused = refusal(iam.delete_open_id_connect_provider, OpenIDConnectProviderArn=arn)
    assert refused == missing(f"OpenId connect Provider {arn} cannot be found.")
    assert new_provider(shared_authority, "gone.example") == arn
    got = answer(iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn))
    assert (got["ClientIDList"], got["ThumbprintList"], got["Tags"]) == ([], [], [])


def test_tags_of_a_provider_tell_upper_case_from_lower_case(shared_authority: LivingAuthority) -> None:
    iam: Any = shared_authority.iam()
    tags = [{"Key": "Key", "Value": "1"}, {"Key": "key", "Value": "2"}]
    created = iam.create_open_id_connect_provider(Url="https://tagged.example", Tags=tags)
    assert created["Tags"] == tags
    named = {"OpenIDConnectProviderArn": created["OpenIDConnectProviderArn"]}
    assert iam.get_open_id_connect_provider(**named)["Tags"] == tags
    iam.tag_open_id_connect_provider(**named, Tags=[{"Key": "key", "Value": "3"}])
    iam.untag_open_id_connect_provider(**named, TagKeys=["Key"])
    listed = answer(iam.list_open_id_connect_provider_tags(**named))
    assert listed == {"Tags": [{"Key": "key", "Value": "3"}], "IsTruncated": False}

    twice = [{"Key": "same", "Value": "1"}, {"Key": "same", "Value": "2"}]
    refused = refusal(iam.tag_open_id_connect_provider, **named, Tags=twice)
    assert refused == ("InvalidInput", 400, "Duplicate tag keys found.")


def test_tags_of_a_provider_are_listed_in_pages_and_are_at_most_fifty(
    shared_authority: LivingAuthority,
) -> None:
    iam: Any = shared_authority.iam()
    arn = new_provider(shared_authority, "many.example", Tags=too_many_tags(50))
    named = {"OpenIDConnectProviderArn": arn}
    first = iam.list_open_id_connect_provider_tags(**named, MaxItems=40)
    assert len(first["Tags"]) == 40
    second = iam.list_open_id_connect_provider_tags(**named, Marker=first["Marker"])
    assert len({tag["Key"] for tag in [*first["Tags"], *second["Tags"]]}) == 50
    assert "Marker" not in second
    one_more = [{"Key": "one-more", "Value": ""}]
    refused = refusal(iam.tag_open_id_connect_provider, **named, Tags=one_more)
    assert refused == ("LimitExceeded", 409, "The number of tags has reached the maximum limit.")


def test_an_issuer_with_a_port_may_be_named(shared_authority: LivingAuthority) -> None:
    arn = new_provider(shared_authority, "127.0.0.1:8443/issuer")
    assert arn.endswith(":oidc-provider/127.0.0.1:8443/issuer")
    url = shared_authority.iam().get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["Url"]
    assert url == "127.0.0.1:8443/issuer"
