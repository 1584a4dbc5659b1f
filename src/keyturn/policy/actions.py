"""The table from action to resource: which ARNs each action of the offered services acts on (Service Authorization Reference).

The data stands in `actions.json`, which `tools/generate_actions.py` writes; its source and licence stand in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Final, TypedDict


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A kind of resource that an action acts on."""

    name: str
    arn: str
    """Template: `arn:${Partition}:iam::${Account}:user/${UserNameWithPath}`."""
    is_required: bool


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One action. Without resource types its resource is `*`."""

    action: str
    """`iam:CreateUser`, in AWS's spelling."""
    access_level: str
    resource_types: tuple[ResourceType, ...]
    condition_keys: tuple[str, ...]
    """Beyond the global ones: those of the action and of its resource types."""


class _TypeJson(TypedDict):
    arn: str
    condition_keys: list[str]


class _ActionJson(TypedDict):
    access_level: str
    resource_types: dict[str, bool]
    condition_keys: list[str]


class _ServiceJson(TypedDict):
    actions: dict[str, _ActionJson]
    condition_keys: dict[str, str]
    resource_types: dict[str, _TypeJson]


class _TableJson(TypedDict):
    services: dict[str, _ServiceJson]


def _rows(table: _TableJson) -> dict[str, ActionRow]:
    rows = {}
    for service, content in table["services"].items():
        types = content["resource_types"]
        for name, entry in content["actions"].items():
            required = entry["resource_types"]
            keys = {
                *entry["condition_keys"],
                *(key for kind in required for key in types[kind]["condition_keys"]),
            }
            rows[f"{service}:{name}"] = ActionRow(
                f"{service}:{name}",
                entry["access_level"],
                tuple(ResourceType(kind, types[kind]["arn"], required[kind]) for kind in required),
                tuple(sorted(keys)),
            )
    return rows


def _table() -> _TableJson:
    table: _TableJson = json.loads(files(__package__).joinpath("actions.json").read_text("utf-8"))
    return table


_TABLE: Final = _table()

ACTIONS: Final[Mapping[str, ActionRow]] = MappingProxyType(_rows(_TABLE))
"""By `service:Action` in AWS's spelling."""

SERVICE_CONDITION_KEYS: Final[Mapping[str, str]] = MappingProxyType(
    {key: kind for content in _TABLE["services"].values() for key, kind in content["condition_keys"].items()}
)
"""The kind of each key's values, as `String` or `ArrayOfString`. A tag's name is left out: `iam:ResourceTag/`."""


def resource_types(service: str, action: str) -> tuple[ResourceType, ...]:
    """What the action acts on; nothing for one that names no resource. KeyError for an action that AWS does not list."""
    return ACTIONS[f"{service}:{action}"].resource_types
