"""A fake of the Kubernetes API for Secrets and for the three kinds of workloads, with a controller that rolls out.

It is a fake. As the real server does, it checks the bearer token (or the client certificate, by TLS), takes merge
patches by their content type only (415), refuses a resourceVersion that is not the object's with 409, wants data in
base64 (400), honours `dryRun=All`, leaves the resourceVersion alone when a patch changes nothing, counts the
generation up when the spec changes, and lets a watch see each change.
"""

from __future__ import annotations

import base64
import binascii
import copy
import json
from collections.abc import Iterator
from typing import Any, Final

from rotation.sinks.fakes.loopback import Asked, FakeService, Reply

_PATCHES: Final = {"application/merge-patch+json"}
Object = dict[str, Any]


class KubernetesFake(FakeService):
    """`state` maps a path (`secrets/ci`, `deployments/web`) in its one namespace to an object."""

    def __init__(self, token: str | None, namespace: str = "team", **options: Any) -> None:
        super().__init__(**options)
        self.state: dict[str, Object] = {}
        self.token = token
        self.namespace = namespace
        self._version = 100
        self.rollout_steps: list[Object] = []
        """What the controller sets in a workload's status, one step for each watch or each event of it."""
        self.restarts = 0
        self.watches = 0
        self.may_watch = True

    def put(self, path: str, found: Object) -> None:
        """Somebody writes."""
        with self.lock:
            self._version += 1
            metadata = {**self.state.get(path, {}).get("metadata", {}), **found.get("metadata", {})}
            metadata |= {"name": path.partition("/")[2], "resourceVersion": str(self._version)}
            self.state[path] = {**found, "metadata": metadata}

    def put_secret(self, name: str, data: dict[str, str], **more: Any) -> None:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self.put(f"secrets/{name}", {"apiVersion": "v1", "kind": "Secret", "data": encoded, **more})

    def data(self, name: str) -> dict[str, str]:
        held = self.state[f"secrets/{name}"].get("data") or {}
        return {key: base64.b64decode(value).decode() for key, value in held.items()}

    def put_workload(self, path: str, *, replicas: int = 2, **more: Any) -> None:
        status = {
            "observedGeneration": 1,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "availableReplicas": replicas,
            "readyReplicas": replicas,
            "desiredNumberScheduled": replicas,
            "updatedNumberScheduled": replicas,
            "numberAvailable": replicas,
            "currentRevision": "a",
            "updateRevision": "a",
        }
        spec = {"replicas": replicas, "template": {"metadata": {}}, **more}
        self.put(path, {"metadata": {"generation": 1}, "spec": spec, "status": status})

    def answer(self, asked: Asked) -> Reply:
        if self.token is not None and asked.headers.get("authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        match asked.path:
            case ["api", "v1", "namespaces", self.namespace, "secrets", *rest]:
                return self._object("secrets", rest, asked)
            case ["apis", "apps", "v1", "namespaces", self.namespace, kind, *rest] if kind in {
                "deployments",
                "statefulsets",
                "daemonsets",
            }:
                return self._object(kind, rest, asked)
        return _status(404, "NotFound")

    def stream(self, asked: Asked) -> Iterator[bytes] | Reply | None:
        if asked.query.get("watch") != "1":
            return None
        if not self.may_watch:
            return _status(403, "Forbidden")
        assert asked.path[:3] == ("apis", "apps", "v1")
        name = asked.query["fieldSelector"].removeprefix("metadata.name=")
        self.watches += 1
        return self._events(f"{asked.path[-1]}/{name}")

    def _events(self, path: str) -> Iterator[bytes]:
        while self.rollout_steps:
            step = self.rollout_steps.pop(0)
            if step.get("ends"):
                return
            with self.lock:
                found = copy.deepcopy(self.state[path])
                found["status"] |= step
                self.put(path, found)
                event = json.dumps({"type": "MODIFIED", "object": self.state[path]}).encode()
            yield event + b"\n"

    def _object(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        if not rest and asked.method == "POST":
            return self._post(kind, asked)
        path = f"{kind}/{'/'.join(rest)}"
        held = self.state.get(path)
        if held is None:
            return _status(404, "NotFound")
        if asked.method == "PATCH":
            return self._patch(path, held, asked)
        return Reply(200, held) if asked.method == "GET" else _status(405, "MethodNotAllowed")

    def _post(self, kind: str, asked: Asked) -> Reply:
        if asked.headers.get("content-type") != "application/json":
            return _status(415, "UnsupportedMediaType")
        body = asked.json()
        path = f"{kind}/{body['metadata']['name']}"
        if path in self.state:
            return _status(409, "AlreadyExists")
        if body["metadata"]["namespace"] != self.namespace or not _is_encoded(body):
            return _status(400, "BadRequest")
        if asked.query.get("dryRun") != "All":
            self.put(path, body)
        return Reply(201, body)

    def _patch(self, path: str, held: Object, asked: Asked) -> Reply:
        if asked.headers.get("content-type") not in _PATCHES:
            return _status(415, "UnsupportedMediaType")
        body = asked.json()
        wanted = body.get("metadata", {}).get("resourceVersion")
        if wanted is not None and wanted != held["metadata"]["resourceVersion"]:
            return _status(409, "Conflict")
        found = _merged(held, body)
        if held.get("immutable") and found.get("data") != held.get("data"):
            return _status(422, "Invalid")
        if not _is_encoded(found):
            return _status(400, "BadRequest")
        if found == held or asked.query.get("dryRun") == "All":
            return Reply(200, found)
        if found.get("spec") != held.get("spec"):
            found["metadata"]["generation"] += 1
            self.restarts += 1
        self.put(path, found)
        return Reply(200, self.state[path])


def _merged(held: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    found = dict(held) if isinstance(held, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = _merged(found.get(name), value)
    return found


def _is_encoded(found: Object) -> bool:
    try:
        for value in (found.get("data") or {}).values():
            base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return False
    return True


def _status(code: int, reason: str) -> Reply:
    return Reply(
        code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
    )
