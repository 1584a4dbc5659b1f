"""When the restart of a Kubernetes workload has ended, judged from the object as the API shows it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

KINDS: Final = ("deployment", "statefulset", "daemonset")


@dataclass(frozen=True, slots=True)
class Workload:
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


class Rollout(Enum):
    DONE = auto()
    GOES_ON = auto()
    STUCK = auto()
    """It will not end by waiting: paused, past its own deadline, or restarted only by hand."""


def rollout_of(kind: str, found: Mapping[str, Any]) -> Rollout:
    """As `kubectl rollout status` judges: the controller has seen the newest template, and its pods serve."""
    spec, status, metadata = (_mapping(found, part) for part in ("spec", "status", "metadata"))
    strategy = _mapping(spec, "updateStrategy")
    if kind == "deployment":
        if spec.get("paused") is True or _is_past_deadline(status):
            return Rollout.STUCK
    elif strategy.get("type") == "OnDelete" or _number(_mapping(strategy, "rollingUpdate"), "partition"):
        return Rollout.STUCK
    generation = metadata.get("generation")
    if not isinstance(generation, int) or _number(status, "observedGeneration") < generation:
        return Rollout.GOES_ON
    if kind == "daemonset":
        wanted = _number(status, "desiredNumberScheduled")
        is_done = (
            _number(status, "updatedNumberScheduled") >= wanted
            and _number(status, "numberAvailable") >= wanted
        )
    else:
        wanted = spec["replicas"] if isinstance(spec.get("replicas"), int) else 1
        updated = _number(status, "updatedReplicas")
        serving = "availableReplicas" if kind == "deployment" else "readyReplicas"
        # Pods of the old template that still run are counted in `replicas`.
        is_done = (
            updated >= wanted
            and _number(status, serving) >= wanted
            and _number(status, "replicas") <= updated
        )
        if kind == "statefulset" and wanted:
            is_done = is_done and status.get("currentRevision") == status.get("updateRevision")
    return Rollout.DONE if is_done else Rollout.GOES_ON


def _is_past_deadline(status: Mapping[str, Any]) -> bool:
    conditions = status.get("conditions")
    return isinstance(conditions, list) and any(
        isinstance(condition, dict)
        and condition.get("type") == "Progressing"
        and condition.get("reason") == "ProgressDeadlineExceeded"
        for condition in conditions
    )


def _mapping(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found.get(name)
    return value if isinstance(value, dict) else {}


def _number(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name)
    return value if isinstance(value, int) else 0
