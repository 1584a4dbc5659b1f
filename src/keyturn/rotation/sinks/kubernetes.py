"""A Kubernetes Secret: two keys of its data, written only if nobody else wrote since, the other keys untouched.

Pods read a Secret into their variables once, so its reload is a restart of the workloads that are named, by an
annotation that is the same for each repeat; it has ended when the new pods serve.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.clock import Clock, SystemClock
from keyturn.model.errors import KeyturnError
from keyturn.rotation.sinks.interface import (
    Field,
    Held,
    ReadBack,
    SinkChangedError,
    SinkRefusedError,
    SinkTraits,
    SinkUnavailableError,
    Surroundings,
    WriteContext,
)
from keyturn.rotation.sinks.kubernetes_access import Cluster, cluster_of
from keyturn.rotation.sinks.kubernetes_rollout import KINDS, Rollout, Workload, rollout_of
from keyturn.rotation.sinks.pairs import (
    CREATE,
    ID_FIELD,
    NOTHING,
    SECRET_FIELD,
    FieldNames,
    as_fields,
    held_in,
    is_as_expected,
    is_same,
    read_json,
    write_json,
)
from keyturn.rotation.sinks.reload import ReloadHook
from keyturn.rotation.sinks.rest import Line

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z")
_DATA_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,253}\Z")
_MERGE: Final = "application/merge-patch+json"
_ANNOTATION: Final = "keyturn-restart"
_DRY_RUN: Final = {"dryRun": "All"}
_DEFAULT_SECONDS: Final = 300
_MOST_SECONDS: Final = 900
_MOST_LOOKS: Final = 200
"""A server that ends each watch at once is not asked for ever."""


class KubernetesSink:
    def __init__(
        self,
        name: str,
        settings: Mapping[str, Any],
        surroundings: Surroundings,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._name = name
        self._names = FieldNames(settings)
        self._secret: str = settings["secret"]
        self._namespace: str = settings["namespace"]
        if not _NAME.match(self._secret) or not _NAME.match(self._namespace):
            raise KeyturnError(f"sink {name}: namespace and secret must be names as Kubernetes has them")
        if not _DATA_KEY.match(self._names.access_key_id) or not _DATA_KEY.match(self._names.secret):
            raise KeyturnError(f"sink {name}: id_field and secret_field must be keys as a Secret has them")
        self._workloads = [_workload(name, text) for text in settings.get("restart") or ()]
        self._seconds: int = settings.get("restart_timeout", _DEFAULT_SECONDS)
        if not 1 <= self._seconds <= _MOST_SECONDS:
            raise KeyturnError(f"sink {name}: restart_timeout must be 1 to {_MOST_SECONDS} seconds")
        self._may_create = bool(settings.get("create"))
        self._settings, self._surroundings = settings, surroundings
        self._where = f"kubernetes {self._namespace}/{self._secret}"
        self._hook = ReloadHook.of(name, settings, surroundings)
        self._clock = clock or SystemClock()

    @property
    def name(self) -> str:
        return self._name

    def describe(self) -> SinkTraits:
        has_reload = bool(self._workloads) or self._hook.is_set
        return SinkTraits(self._where, True, ReadBack.PAIR, has_reload)

    def test(self) -> None:
        """The server runs every write through permission and admission, and keeps none of them (`dryRun`)."""
        with self._cluster().rest.line() as line:
            found = self._get(line)
            if found is None:
                self._post(line, {}, _DRY_RUN)
            else:
                self._patch(line, found, {}, _DRY_RUN)
            for workload in self._workloads:
                self._restart(line, workload, "test", _DRY_RUN)
        self._hook.test()

    def read(self) -> Held:
        with self._cluster().rest.line() as line:
            return self._held(self._get(line))

    def write(self, pair: AccessKeyPair, *, expect: Held, context: WriteContext) -> None:  # noqa: ARG002 - the resourceVersion tells a repeat apart
        with self._cluster().rest.line() as line:
            found = self._get(line)
            now = self._held(found)
            if is_same(now.pair, pair):
                return
            if not is_as_expected(now, expect):
                raise self._changed()
            data = {
                key: base64.b64encode(value.encode()).decode("ascii")
                for key, value in as_fields(pair, self._names).items()
            }
            if found is None:
                self._post(line, data, None)
            else:
                self._patch(line, found, data, None)

    def holds(self, pair: AccessKeyPair, *, before: Held) -> bool:  # noqa: ARG002 - the pair itself is read back
        return is_same(self.read().pair, pair)

    def reload(self, context: WriteContext) -> None:
        """Restart each workload and wait until its new pods serve; a repeat only waits for what is left."""
        until = self._clock.monotonic() + self._seconds
        if self._workloads:
            with self._cluster().rest.line() as line:
                for workload in self._workloads:
                    self._restart(line, workload, context.idempotency_key, None)
                for workload in self._workloads:
                    self._wait_for(workload, until)
        self._hook.run(context)

    def _get(self, line: Line) -> dict[str, Any] | None:
        answer = line.ask("GET", self._secret_path(), expected=(200, 404))
        if answer.status == 404:
            if not self._may_create:
                raise SinkRefusedError(f"{self._where}: there is no such Secret, and `create` is not set")
            return None
        found = answer.object()
        if found.get("kind") != "Secret" or not isinstance(
            _member(found, "metadata", "resourceVersion"), str
        ):
            raise SinkRefusedError(f"{self._where}: what answers there does not speak Kubernetes' API")
        if found.get("immutable"):
            raise SinkRefusedError(f"{self._where}: the Secret is immutable")
        return found

    def _post(self, line: Line, data: Mapping[str, str], query: Mapping[str, str] | None) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {"name": self._secret, "namespace": self._namespace},
            "data": data,
        }
        path = self._secret_path().rpartition("/")[0]
        answer = line.ask("POST", path, query=query, body=write_json(body), expected=(201, 409))
        if answer.status == 409:
            raise self._changed()

    def _patch(
        self, line: Line, found: Mapping[str, Any], data: Mapping[str, str], query: Mapping[str, str] | None
    ) -> None:
        # A patch that names a resourceVersion is refused with 409 if the object has another one by now.
        body = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "data": data}
        answer = line.ask(
            "PATCH",
            self._secret_path(),
            query=query,
            body=write_json(body),
            content_type=_MERGE,
            expected=(200, 409),
        )
        if answer.status == 409:
            raise self._changed()

    def _held(self, found: Mapping[str, Any] | None) -> Held:
        if found is None:
            return NOTHING
        data = found.get("data")
        values = {
            key: _decoded(data.get(key)) if isinstance(data, dict) else None
            for key in (self._names.access_key_id, self._names.secret)
        }
        return held_in(values, self._names, found["metadata"]["resourceVersion"])

    def _restart(self, line: Line, workload: Workload, mark: str, query: Mapping[str, str] | None) -> None:
        body = write_json({"spec": {"template": {"metadata": {"annotations": {_ANNOTATION: mark}}}}})
        line.ask("PATCH", self._workload_path(workload), query=query, body=body, content_type=_MERGE)

    def _wait_for(self, workload: Workload, until: float) -> None:
        """Look, then let the server tell of each change, and look again when it stops."""
        for _ in range(_MOST_LOOKS):
            with self._cluster().rest.line() as line:
                found = line.ask("GET", self._workload_path(workload)).object()
                rollout = rollout_of(workload.kind, found)
                left = until - self._clock.monotonic()
                if rollout is Rollout.GOES_ON and left > 0:
                    rollout = self._watch(line, workload, found, left)
            if rollout is Rollout.DONE:
                return
            if rollout is Rollout.STUCK:
                raise SinkRefusedError(f"{self._where}: the rollout of {workload} is paused or stuck")
            if left <= 0:
                break
        raise SinkUnavailableError(f"{self._where}: {workload} is still rolling out")

    def _watch(self, line: Line, workload: Workload, found: Mapping[str, Any], left: float) -> Rollout:
        query = {
            "watch": "1",
            "fieldSelector": f"metadata.name={workload.name}",
            "resourceVersion": str(_member(found, "metadata", "resourceVersion") or ""),
            "timeoutSeconds": str(max(1, int(left))),
        }
        path = self._workload_path(workload).rpartition("/")[0]
        for text in line.lines(path, query, seconds=left):
            event = read_json(text)
            if not isinstance(event, dict) or event.get("type") not in {"ADDED", "MODIFIED"}:
                break  # an error such as an expired resourceVersion, or a bookmark: look anew
            rollout = rollout_of(workload.kind, event.get("object") or {})
            if rollout is not Rollout.GOES_ON:
                return rollout
        return Rollout.GOES_ON

    def _cluster(self) -> Cluster:
        return cluster_of(self._name, self._settings, self._surroundings, where=self._where)

    def _secret_path(self) -> str:
        return f"/api/v1/namespaces/{self._namespace}/secrets/{self._secret}"

    def _workload_path(self, workload: Workload) -> str:
        return f"/apis/apps/v1/namespaces/{self._namespace}/{workload.kind}s/{quote(workload.name)}"

    def _changed(self) -> SinkChangedError:
        return SinkChangedError(f"{self._where}: somebody else has written it in between")


def _workload(sink: str, text: str) -> Workload:
    kind, _, name = text.partition("/")
    if kind not in KINDS or not _NAME.match(name):
        raise KeyturnError(f"sink {sink}: restart takes {', '.join(f'{kind}/NAME' for kind in KINDS)}")
    return Workload(kind, name)


def _member(found: Mapping[str, Any], *path: str) -> Any:
    value: Any = found
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _decoded(text: object) -> str | None:
    if not isinstance(text, str):
        return None
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return None


class KubernetesType:
    fields: Sequence[Field] = (
        Field("namespace", str, "The namespace.", is_required=True),
        Field("secret", str, "The Secret's name.", is_required=True),
        ID_FIELD,
        SECRET_FIELD,
        CREATE,
        Field(
            "kubeconfig",
            str,
            "A file that `kubectl config view --raw --minify -o json` wrote. Default: the pod's service account.",
        ),
        Field(
            "service_account",
            str,
            "Folder of the pod's token and ca.crt. Default: /var/run/secrets/kubernetes.io/serviceaccount.",
        ),
        Field(
            "restart", list, 'Workloads to restart after a write, e.g. ["deployment/web", "daemonset/agent"].'
        ),
        Field("restart_timeout", int, "Seconds that the rollouts may take, 1 to 900. Default: 300."),
        *ReloadHook.fields,
    )

    def open(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> KubernetesSink:
        return KubernetesSink(name, settings, surroundings)


TYPE: Final = KubernetesType()
