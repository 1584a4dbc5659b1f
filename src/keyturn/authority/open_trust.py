"""Trust that is open to more than anybody can mean: in everybody, or in all customers of a shared identity provider.

GitHub signs the tokens of all its repositories with the same keys, so a role that trusts its provider and does
not look at the subject belongs to every repository there is. AWS refuses such a trust policy since 2025, also for
others (IAM user guide, "Identity-provider controls for shared OIDC providers"). Pure; whether the document is a
trust policy at all is for others to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from keyturn.policy.elements import Json, UnreadableError, statements_of
from keyturn.policy.patterns import action_patterns

_GITHUB: Final = "token.actions.githubusercontent.com"
_SHARED: Final = {
    _GITHUB: "sub",
    "agent.buildkite.com": "sub",
    "api.pulumi.com/oidc": "aud",
    "app.terraform.io": "sub",
    "gitlab.com": "sub",
    "oidc-configuration.audit-log.githubusercontent.com": "sub",
    "oidc.codefresh.io": "sub",
    "oidc.vercel.com": "aud",
    "proidc.upbound.io": "sub",
    "sandboxes.cloud": "aud",
    "scalr.io": "sub",
    "studio.datachain.ai/api": "sub",
    "tokens.cloud.shisho.dev": "sub",
    "vstoken.actions.githubusercontent.com": "sub",
}
"""Issuers whose tokens come from all their customers, and the claim that tells those apart."""
_SERVICE: Final = "sts"
_WEB_IDENTITY: Final = "assumerolewithwebidentity"
_ASSUME_ROLE: Final = "assumerole"
OPEN_TO_ALL: Final = (
    "The trust policy lets everybody assume the role: name whom you trust, or say on which condition."
)
_COMPARING: Final = frozenset({"stringequals", "stringlike", "stringequalsignorecase"})
"""The operators that AWS's own sentence names. `ForAllValues:` and `…IfExists` pass where the claim is missing."""
_WILDCARD: Final = re.compile(r"[*?]|\$\{")


def fault_of_shared_provider(elements: Mapping[str, Json]) -> str | None:
    """AWS's sentence if a statement trusts a shared provider without naming whose tokens; None if none does."""
    for statement in _allowing(elements):
        if not _covers(statement, _WEB_IDENTITY):
            continue
        for principal in _federated(statement):
            provider, claim = _shared(principal)
            if claim is not None and not _looks_at(statement, f"{provider}:{claim}", claim):
                example = ' For example "repo:ORGANIZATION/REPOSITORY:*".' if _GITHUB in provider else ""
                return (
                    f"Trust policy with trusted principal {principal} must evaluate, using StringEquals, StringLike"
                    f" or StringEqualsIgnoreCase, {provider}:{claim} which is not scoped to all.{example}"
                )
    return None


def fault_of_open_trust(elements: Mapping[str, Json]) -> str | None:
    """A sentence if a statement lets everybody assume the role on no condition; None if none does.

    Within the account such a trust would make permission to assume superfluous. AWS takes it.
    """
    for statement in _allowing(elements):
        principal = statement.get("Principal")
        named = _texts(principal.get("AWS")) if isinstance(principal, dict) else _texts(principal)
        if "*" in named and not statement.get("Condition") and _covers(statement, _ASSUME_ROLE):
            return OPEN_TO_ALL
    return None


def _allowing(elements: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    try:
        statements = statements_of(elements)
    except UnreadableError:
        return
    for statement in statements:
        if isinstance(statement, dict) and statement.get("Effect") == "Allow":
            yield statement


def _federated(statement: Mapping[str, Json]) -> Iterator[str]:
    """Federated principals; `*` where everybody is trusted, and where Allow is said of all but some."""
    principal = statement.get("Principal")
    if isinstance(principal, dict):
        yield from _texts(principal.get("Federated"))
        if "*" in _texts(principal.get("AWS")):
            yield "*"
    elif principal == "*" or "NotPrincipal" in statement:
        yield "*"


def _shared(principal: str) -> tuple[str, str | None]:
    """Host and path, as the provider's condition keys begin, and the claim to look at if it is a shared one.

    An enterprise's own issuer at GitHub has a path behind the host, and is asked for by its own name.
    """
    if principal == "*":
        return _GITHUB, _SHARED[_GITHUB]
    provider = principal.lower().rpartition(":oidc-provider/")[2]
    host = provider.partition("/")[0].partition(":")[0]
    return provider, _SHARED.get(provider.rstrip("/"), _SHARED.get(host))


def _covers(statement: Mapping[str, Json], action: str) -> bool:
    def covers(pattern: str) -> bool:
        try:
            return action_patterns([pattern]).cover(f"{_SERVICE}:{action}", _SERVICE, action)
        except ValueError:
            return False

    if "Action" in statement:
        return any(map(covers, _texts(statement["Action"])))
    return not any(map(covers, _texts(statement.get("NotAction"))))


def _looks_at(statement: Mapping[str, Json], wanted: str, claim: str) -> bool:
    condition = statement.get("Condition")
    for operator, keys in (condition if isinstance(condition, dict) else {}).items():
        if operator.lower().removeprefix("foranyvalue:") not in _COMPARING or not isinstance(keys, dict):
            continue
        for key, values in keys.items():
            texts = _texts(values)
            if key.lower() == wanted and texts and all(_names_somebody(text, claim) for text in texts):
                return True
    return False


def _names_somebody(pattern: str, claim: str) -> bool:
    """Whether a subject, before its first wildcard, goes past its own kind: `repo:o*` does, `repo:*` does not."""
    wildcard = _WILDCARD.search(pattern)
    if wildcard is None:
        return True
    told = pattern[: wildcard.start()]
    return bool(told.partition(":")[2] if claim == "sub" else told)


def _texts(value: Json) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]
