"""Unique ids of users, groups, roles and the like: a prefix and 17 base32 characters (IAM user guide, "Unique identifiers")."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

USER_PREFIX: Final = "AIDA"
GROUP_PREFIX: Final = "AGPA"
POLICY_PREFIX: Final = "ANPA"
ROLE_PREFIX: Final = "AROA"
INSTANCE_PROFILE_PREFIX: Final = "AIPA"


def mint_unique_id(prefix: str, random_bytes: Callable[[int], bytes]) -> str:
    """21 characters; 85 random bits."""
    return prefix + base64.b32encode(random_bytes(11)).decode("ascii")[:17]
