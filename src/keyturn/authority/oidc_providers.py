"""OpenID Connect providers: whose web identities a role may trust.

Thumbprints are kept because clients send and read them; a provider's certificate is checked against
certificate authorities, as AWS does by now, and nothing is fetched here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from keyturn.authority.operations import Call, Parameters, Result, Target, WriteCall, operation, page_of
from keyturn.authority.storage import oidc_providers as rows
from keyturn.authority.storage.oidc_providers import OidcProvider
from keyturn.authority.storage.tags import PROVIDER_TAGS, Tag
from keyturn.authority.tags import check_new_tags, tag_list
from keyturn.model.arns import oidc_provider_arn
from keyturn.wire.faults import (
    already_exists,
    invalid_input,
    limit_exceeded,
    no_such_entity,
    validation_error,
)

PROVIDERS_PER_ACCOUNT: Final = 100
CLIENT_IDS_PER_PROVIDER: Final = 100
THUMBPRINTS_PER_PROVIDER: Final = 5
"""IAM API, CreateOpenIDConnectProvider: "up to five", although the sentence of a refusal says fewer than five."""

_URL: Final = re.compile(r"https://([A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[\w.~%+=,:@/-]*)?)", re.ASCII)
"""No user, query or fragment. A port is let pass, where AWS would not, for the issuers of closed networks."""


def _host_and_path(url: str) -> str:
    found = _URL.fullmatch(url)
    if found is None:
        raise validation_error("Invalid Open ID Connect Provider URL")
    return found[1]


def _find_provider(call: Call, arn: str) -> OidcProvider:
    provider = rows.provider_by_arn(call.reader, arn)
    if provider is None:
        raise no_such_entity(f"OpenIDConnect Provider not found for arn {arn}")
    return provider


def _the_provider(call: Call, parameters: Parameters) -> Target:
    arn = parameters["open_id_connect_provider_arn"]
    return Target(arn, arn, tuple(PROVIDER_TAGS.of(call.reader, arn)))


def _the_new_provider(call: Call, parameters: Parameters) -> Target:
    arn = oidc_provider_arn(call.account_id, parameters["url"].removeprefix("https://"))
    return Target(arn, arn)


def _all_providers(call: Call, _parameters: Parameters) -> Target:
    arn = oidc_provider_arn(call.account_id, "*")
    return Target(arn, arn)


def _check_thumbprints(thumbprints: Sequence[str]) -> None:
    if len(thumbprints) > THUMBPRINTS_PER_PROVIDER:
        raise invalid_input(f"Thumbprint list must contain fewer than {THUMBPRINTS_PER_PROVIDER} entries.")


def _check_client_ids(client_ids: set[str]) -> None:
    if len(client_ids) > CLIENT_IDS_PER_PROVIDER:
        raise limit_exceeded(
            f"Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: {CLIENT_IDS_PER_PROVIDER}"
        )


@operation("iam", "CreateOpenIDConnectProvider", _the_new_provider, writes=True)
def create_open_id_connect_provider(
    call: WriteCall,
    *,
    url: str,
    client_id_list: Sequence[str] = (),
    thumbprint_list: Sequence[str] = (),
    tags: Sequence[Result] = (),
) -> Result:
    host_and_path = _host_and_path(url)
    _check_thumbprints(thumbprint_list)
    _check_client_ids(set(client_id_list))
    pairs = check_new_tags(tags, case_counts=True)
    if rows.provider_by_url(call.reader, call.account_id, host_and_path):
        raise already_exists(f"Provider with url {url} already exists.")
    if rows.count_providers(call.reader, call.account_id) >= PROVIDERS_PER_ACCOUNT:
        raise limit_exceeded(
            f"Cannot exceed quota for OpenIdConnectProvidersPerAccount: {PROVIDERS_PER_ACCOUNT}"
        )
    arn = oidc_provider_arn(call.account_id, host_and_path)
    provider = OidcProvider(call.account_id, arn, host_and_path, call.now, None)
    rows.insert_provider(call.tx, provider, client_id_list, thumbprint_list)
    PROVIDER_TAGS.put(call.tx, call.account_id, arn, pairs)
    return {"OpenIDConnectProviderArn": arn} | ({"Tags": tag_list(pairs)} if pairs else {})


@operation("iam", "GetOpenIDConnectProvider", _the_provider)
def get_open_id_connect_provider(call: Call, *, open_id_connect_provider_arn: str) -> Result:
    provider = _find_provider(call, open_id_connect_provider_arn)
    return {
        "Url": provider.url,
        "ClientIDList": rows.client_ids(call.reader, provider.arn),
        "ThumbprintList": rows.thumbprints(call.reader, provider.arn),
        "CreateDate": provider.created_at,
        "Tags": tag_list(PROVIDER_TAGS.of(call.reader, provider.arn)),
    }


@operation("iam", "ListOpenIDConnectProviders", _all_providers)
def list_open_id_connect_providers(call: Call) -> Result:
    """All of them: their number is bounded by IAM's quota of 100 an account."""
    providers = rows.providers(call.reader, call.account_id)
    return {"OpenIDConnectProviderList": [{"Arn": provider.arn} for provider in providers]}


@operation("iam", "DeleteOpenIDConnectProvider", _the_provider, writes=True)
def delete_open_id_connect_provider(call: WriteCall, *, open_id_connect_provider_arn: str) -> Result:
    """Roles that trust it stay; the sessions that it vouched for end with it."""
    if not rows.provider_exists(call.reader, open_id_connect_provider_arn):
        raise no_such_entity(f"OpenId connect Provider {open_id_connect_provider_arn} cannot be found.")
    rows.delete_provider(call.tx, open_id_connect_provider_arn)
    return {}


@operation("iam", "AddClientIDToOpenIDConnectProvider", _the_provider, writes=True)
def add_client_id(call: WriteCall, *, open_id_connect_provider_arn: str, client_id: str) -> Result:
    """Adding one that is there changes nothing (IAM API: "This operation is idempotent")."""
    provider = _find_provider(call, open_id_connect_provider_arn)
    _check_client_ids({*rows.client_ids(call.reader, provider.arn), client_id})
    rows.add_client_id(call.tx, provider, client_id)
    return {}


@operation("iam", "RemoveClientIDFromOpenIDConnectProvider", _the_provider, writes=True)
def remove_client_id(call: WriteCall, *, open_id_connect_provider_arn: str, client_id: str) -> Result:
    """Removing one that is not there changes nothing (IAM API: "This operation is idempotent")."""
    provider = _find_provider(call, open_id_connect_provider_arn)
    rows.remove_client_id(call.tx, provider.arn, client_id)
    return {}


@operation("iam", "UpdateOpenIDConnectProviderThumbprint", _the_provider, writes=True)
def update_thumbprint(
    call: WriteCall, *, open_id_connect_provider_arn: str, thumbprint_list: Sequence[str]
) -> Result:
    """The new list takes the whole old one's place."""
    provider = _find_provider(call, open_id_connect_provider_arn)
    _check_thumbprints(thumbprint_list)
    rows.set_thumbprints(call.tx, provider, thumbprint_list)
    return {}


# Tags


@operation("iam", "TagOpenIDConnectProvider", _the_provider, writes=True)
def tag_open_id_connect_provider(
    call: WriteCall, *, open_id_connect_provider_arn: str, tags: Sequence[Result]
) -> Result:
    arn = _find_provider(call, open_id_connect_provider_arn).arn
    pairs = check_new_tags(tags, PROVIDER_TAGS.of(call.reader, arn), case_counts=True)
    PROVIDER_TAGS.put(call.tx, call.account_id, arn, pairs)
    return {}


@operation("iam", "UntagOpenIDConnectProvider", _the_provider, writes=True)
def untag_open_id_connect_provider(
    call: WriteCall, *, open_id_connect_provider_arn: str, tag_keys: Sequence[str]
) -> Result:
    arn = _find_provider(call, open_id_connect_provider_arn).arn
    PROVIDER_TAGS.delete(call.tx, arn, tag_keys)
    return {}


def _key(tag: Tag) -> str:
    return tag[0]


@operation("iam", "ListOpenIDConnectProviderTags", _the_provider)
def list_open_id_connect_provider_tags(
    call: Call,
    *,
    open_id_connect_provider_arn: str,
    marker: str | None = None,
    max_items: int | None = None,
) -> Result:
    tags = PROVIDER_TAGS.of(call.reader, _find_provider(call, open_id_connect_provider_arn).arn)
    listed, end = page_of(call, marker, max_items, tags, _key)
    return {"Tags": tag_list(listed), **end}
