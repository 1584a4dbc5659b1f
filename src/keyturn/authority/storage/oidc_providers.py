"""Rows of OpenID Connect providers: whose web identities may be exchanged for a role."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from keyturn.authority.storage.tags import PROVIDER_TAGS
from keyturn.model.access_keys import AccountId
from keyturn.store.interface import Reader, Row, Transaction

_SELECT: Final = "SELECT account_id, arn, url, created_at, pinned_jwks FROM oidc_providers"


@dataclass(frozen=True, slots=True)
class OidcProvider:
    account_id: AccountId
    arn: str
    url: str
    """Without `https://`: host and path, as IAM shows it and as context keys begin."""
    created_at: int
    pinned_jwks: str | None
    """For closed networks: the key set itself, instead of the provider's own."""


def _provider(row: Row) -> OidcProvider:
    account_id, arn, url, created_at, jwks = row
    return OidcProvider(
        AccountId(str(account_id)),
        str(arn),
        str(url),
        int(created_at or 0),
        None if jwks is None else str(jwks),
    )


def provider_by_arn(reader: Reader, arn: str) -> OidcProvider | None:
    row = reader.row(_SELECT + " WHERE arn = :arn", {"arn": arn})
    return _provider(row) if row else None


def provider_by_url(reader: Reader, account_id: AccountId, url: str) -> OidcProvider | None:
    row = reader.row(
        _SELECT + " WHERE account_id = :account AND url = :url", {"account": account_id, "url": url}
    )
    return _provider(row) if row else None


def provider_exists(reader: Reader, arn: str) -> bool:
    return reader.row("SELECT 1 FROM oidc_providers WHERE arn = :arn", {"arn": arn}) is not None


def providers(reader: Reader, account_id: AccountId) -> list[OidcProvider]:
    return [
        _provider(row)
        for row in reader.rows(_SELECT + " WHERE account_id = :account ORDER BY arn", {"account": account_id})
    ]


def count_providers(reader: Reader, account_id: AccountId) -> int:
    row = reader.row(
        "SELECT count(*) FROM oidc_providers WHERE account_id = :account", {"account": account_id}
    )
    return int(row[0] or 0) if row else 0


def insert_provider(
    tx: Transaction, provider: OidcProvider, client_ids: Iterable[str], thumbprints: Sequence[str]
) -> None:
    tx.execute(
        "INSERT INTO oidc_providers (arn, account_id, url, created_at, pinned_jwks)"
        " VALUES (:arn, :account, :url, :created, :jwks)",
        {
            "arn": provider.arn,
            "account": provider.account_id,
            "url": provider.url,
            "created": provider.created_at,
            "jwks": provider.pinned_jwks,
        },
    )
    for client_id in client_ids:
        add_client_id(tx, provider, client_id)
    set_thumbprints(tx, provider, thumbprints)


def delete_provider(tx: Transaction, arn: str) -> None:
    PROVIDER_TAGS.delete_all(tx, arn)
    tx.execute("DELETE FROM oidc_client_ids WHERE arn = :arn", {"arn": arn})
    tx.execute("DELETE FROM oidc_thumbprints WHERE arn = :arn", {"arn": arn})
    tx.execute("DELETE FROM oidc_providers WHERE arn = :arn", {"arn": arn})


def set_pinned_jwks(tx: Transaction, arn: str, jwks: str | None) -> None:
    tx.execute("UPDATE oidc_providers SET pinned_jwks = :jwks WHERE arn = :arn", {"arn": arn, "jwks": jwks})


def client_ids(reader: Reader, arn: str) -> list[str]:
    return [
        str(client_id)
        for (client_id,) in reader.rows(
            "SELECT client_id FROM oidc_client_ids WHERE arn = :arn ORDER BY client_id", {"arn": arn}
        )
    ]


def add_client_id(tx: Transaction, provider: OidcProvider, client_id: str) -> None:
    tx.execute(
        "INSERT INTO oidc_client_ids (account_id, arn, client_id) VALUES (:account, :arn, :id)"
        " ON CONFLICT (arn, client_id) DO NOTHING",
        {"account": provider.account_id, "arn": provider.arn, "id": client_id},
    )


def remove_client_id(tx: Transaction, arn: str, client_id: str) -> None:
    tx.execute(
        "DELETE FROM oidc_client_ids WHERE arn = :arn AND client_id = :id", {"arn": arn, "id": client_id}
    )


def thumbprints(reader: Reader, arn: str) -> list[str]:
    return [
        str(thumbprint)
        for (thumbprint,) in reader.rows(
            "SELECT thumbprint FROM oidc_thumbprints WHERE arn = :arn ORDER BY position", {"arn": arn}
        )
    ]


def set_thumbprints(tx: Transaction, provider: OidcProvider, new: Sequence[str]) -> None:
    tx.execute("DELETE FROM oidc_thumbprints WHERE arn = :arn", {"arn": provider.arn})
    for position, thumbprint in enumerate(new):
        tx.execute(
            "INSERT INTO oidc_thumbprints (account_id, arn, position, thumbprint)"
            " VALUES (:account, :arn, :position, :thumbprint)",
            {
                "account": provider.account_id,
                "arn": provider.arn,
                "position": position,
                "thumbprint": thumbprint,
            },
        )
