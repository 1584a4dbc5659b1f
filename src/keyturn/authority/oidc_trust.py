"""Trust in an identity provider that everybody shares: which workflow may come must be said.

GitHub signs the tokens of all its repositories with the same keys, so a role that trusts its provider and does
not look at the subject belongs to every repository there is. AWS refuses such a trust policy since 2025. Pure;
whether the document is a trust policy at all is for others to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from keyturn.policy.elements import Json, UnreadableError, statements_of
from keyturn.policy.patterns import action_patterns

_GITHUB: Final = "token.actions.githubusercontent.com"
_SERVICE: Final = "sts"
_ACTION: Final = "assumerolewithwebidentity"
_COMPARING: Final = frozenset({"stringequals", "stringlike", "stringequalsignorecase"})
"""The operators that AWS's own sentence names. `ForAllValues:` and `…IfExists` pass where the claim is missing."""
_WILDCARD: Final = re.compile(r"[*?]|\$\{")


def fault_of_shared_provider(elements: Mapping[str, Json]) -> str | None:
    """AWS's sentence if a statement trusts GitHub's provider without naming whose workflows; None if none does."""
    try:
        statements = statements_of(elements)
    except UnreadableError:
        return None
    for statement in statements:
        if not isinstance(statement, dict) or statement.get("Effect") != "Allow":
            continue
        trusted = [principal for principal in _federated(statement) if _is_github(principal)]
        if trusted and _covers_web_identity(statement) and not _looks_at_subject(statement, trusted):
            provider = _GITHUB if trusted[0] == "*" else _provider(trusted[0])
            return (
                f"Trust policy with trusted principal {trusted[0]} must evaluate, using StringEquals, StringLike or"
                f" StringEqualsIgnoreCase, {provider}:sub which is not scoped to all."
                ' For example "repo:ORGANIZATION/REPOSITORY:*".'
            )
    return None


def _federated(statement: Mapping[str, Json]) -> Iterator[str]:
    """Federated principals; `*` where everybody is trusted, and where Allow is said of all but some."""
    principal = statement.get("Principal")
    if isinstance(principal, dict):
        yield from _texts(principal.get("Federated"))
        if "*" in _texts(principal.get("AWS")):
            yield "*"
    elif principal == "*" or "NotPrincipal" in statement:
        yield "*"


def _is_github(principal: str) -> bool:
    host = _provider(principal).partition("/")[0].partition(":")[0]
    return principal == "*" or host == _GITHUB


def _provider(principal: str) -> str:
    """Host and path, as the provider's condition keys begin; without an ARN's head."""
    return principal.lower().rpartition(":oidc-provider/")[2]


def _covers_web_identity(statement: Mapping[str, Json]) -> bool:
    if "Action" in statement:
        return any(map(_covers, _texts(statement["Action"])))
    return not any(map(_covers, _texts(statement.get("NotAction"))))


def _covers(action: str) -> bool:
    try:
        return action_patterns([action]).cover(f"{_SERVICE}:{_ACTION}", _SERVICE, _ACTION)
    except ValueError:
        return False


def _looks_at_subject(statement: Mapping[str, Json], trusted: list[str]) -> bool:
    wanted = {f"{_provider(principal)}:sub" for principal in trusted}
    if "*" in trusted:
        wanted.add(f"{_GITHUB}:sub")
    condition = statement.get("Condition")
    for operator, keys in (condition if isinstance(condition, dict) else {}).items():
        if operator.lower().removeprefix("foranyvalue:") not in _COMPARING or not isinstance(keys, dict):
            continue
        for key, values in keys.items():
            texts = _texts(values)
            if key.lower() in wanted and texts and all(map(_names_somebody, texts)):
                return True
    return False


def _names_somebody(subject: str) -> bool:
    """Whether the pattern, before its first wildcard, goes past the claim's name: `repo:o*` does, `repo:*` does not."""
    wildcard = _WILDCARD.search(subject)
    return wildcard is None or bool(subject[: wildcard.start()].partition(":")[2])


def _texts(value: Json) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]
