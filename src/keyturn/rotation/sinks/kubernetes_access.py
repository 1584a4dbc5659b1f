"""Which API server a Kubernetes sink asks, and as whom: the pod's own service account, or a kubeconfig in JSON.

JSON, because `kubectl config view` writes it and reading YAML would take a library for one file. Everything is
read anew for each act: tokens and certificates are replaced while we run.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.interface import SinkRefusedError, Surroundings
from keyturn.rotation.sinks.pairs import read_json
from keyturn.rotation.sinks.rest import Rest, token_from

_SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_LARGEST_FILE: Final = 1024 * 1024
_HINT: Final = "write it with: kubectl config view --raw --minify -o json"
_UNREAD: Final = ("exec", "auth-provider", "username", "as", "impersonate")
"""Ways to prove oneself that this sink does not know: to leave them out would be to ask as somebody else."""


@dataclass(frozen=True, slots=True)
class Cluster:
    rest: Rest


def cluster_of(sink: str, settings: Mapping[str, Any], surroundings: Surroundings, *, where: str) -> Cluster:
    """SinkRefusedError if the file or the service account is not there or not usable."""
    kubeconfig = settings.get("kubeconfig")
    if kubeconfig:
        return _from_kubeconfig(sink, Path(kubeconfig).expanduser(), surroundings, where)
    return _from_service_account(sink, settings, surroundings, where)


def _from_service_account(
    sink: str, settings: Mapping[str, Any], surroundings: Surroundings, where: str
) -> Cluster:
    host = surroundings.environment.get("KUBERNETES_SERVICE_HOST")
    port = surroundings.environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise SinkRefusedError(f"{where}: this is not a pod (no KUBERNETES_SERVICE_HOST): set kubeconfig")
    folder = Path(settings.get("service_account") or _SERVICE_ACCOUNT)
    authorities = _read(folder / "ca.crt", where)

    def credentials() -> Mapping[str, Secret]:
        return {"Authorization": _bearer(surroundings, folder / "token", where)}

    address = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return _cluster(
        sink, address, "KUBERNETES_SERVICE_HOST", credentials, _tls(authorities, None, where), where
    )


def _from_kubeconfig(sink: str, file: Path, surroundings: Surroundings, where: str) -> Cluster:
    found = read_json(_read(file, where))
    if not isinstance(found, dict):
        raise SinkRefusedError(f"{where}: the kubeconfig is not JSON; {_HINT}")
    context = _named(found, "contexts", "context", found.get("current-context"), where)
    cluster = _named(found, "clusters", "cluster", context.get("cluster"), where)
    user = _named(found, "users", "user", context.get("user"), where)
    unread = [name for name in _UNREAD if user.get(name)]
    if unread:
        raise SinkRefusedError(
            f"{where}: the kubeconfig's user has {unread[0]}; a token or a client certificate is needed"
        )
    if cluster.get("insecure-skip-tls-verify"):
        raise SinkRefusedError(
            f"{where}: the kubeconfig does not prove the server (insecure-skip-tls-verify)"
        )
    folder = file.parent
    certificate = _part(user, "client-certificate", folder, where)
    key = _part(user, "client-key", folder, where)
    if (certificate is None) != (key is None):
        raise SinkRefusedError(f"{where}: the kubeconfig has half of a client certificate")
    own = None
    if certificate is not None and key is not None:
        own = Secret(certificate.reveal() + b"\n" + key.reveal())
    token, token_file = user.get("token"), user.get("tokenFile")

    def credentials() -> Mapping[str, Secret]:
        if token_file:
            return {"Authorization": _bearer(surroundings, folder / token_file, where)}
        if token:
            given = Surroundings({"token": str(token)}, None, None)
            return {"Authorization": _bearer(given, None, where)}
        return {}

    if own is None and not token and not token_file:
        raise SinkRefusedError(f"{where}: the kubeconfig's user has no token and no client certificate")
    authorities = _part(cluster, "certificate-authority", folder, where)
    return _cluster(
        sink,
        str(cluster.get("server") or ""),
        "kubeconfig",
        credentials,
        _tls(authorities, own, where),
        where,
    )


def _cluster(
    sink: str,
    address: str,
    field: str,
    credentials: Callable[[], Mapping[str, Secret]],
    tls: Callable[[], ssl.SSLContext],
    where: str,
) -> Cluster:
    try:
        rest = Rest(address, sink=sink, field=field, service=where, credentials=credentials, tls=tls)
    except KeyturnError as error:
        raise SinkRefusedError(f"{where}: {error.message}") from error
    return Cluster(rest)


def _bearer(surroundings: Surroundings, file: Path | None, where: str) -> Secret:
    return token_from(surroundings, variable="token", file=file, what=where, prefix=b"Bearer ")


def _named(found: Mapping[str, Any], plural: str, single: str, name: object, where: str) -> dict[str, Any]:
    listed = found.get(plural)
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(single), dict):
            return dict(entry[single])
    raise SinkRefusedError(f"{where}: the kubeconfig names no {single} to use; {_HINT}")


def _part(found: Mapping[str, Any], name: str, folder: Path, where: str) -> Secret | None:
    """Data in the file itself goes before a file that it names, as with kubectl."""
    data = found.get(f"{name}-data")
    if data:
        decoded = None
        try:
            decoded = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise SinkRefusedError(f"{where}: {name}-data in the kubeconfig is not base64") from None
        return Secret(decoded)
    return _read(folder / found[name], where) if isinstance(found.get(name), str) else None


def _read(file: Path, where: str) -> Secret:
    try:
        with file.open("rb") as opened:
            found = opened.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise SinkRefusedError(f"{where}: {file} can't be read ({error.strerror})") from error
    if len(found) > _LARGEST_FILE:
        raise SinkRefusedError(f"{where}: {file} is too large")
    return Secret(found)


def _tls(authorities: Secret | None, own: Secret | None, where: str) -> Callable[[], ssl.SSLContext]:
    def context() -> ssl.SSLContext:
        try:
            trusted = None if authorities is None else authorities.reveal().decode("ascii")
            made = ssl.create_default_context(cadata=trusted)
            if own is not None:
                with _as_file(own) as file:
                    made.load_cert_chain(file, password=lambda: b"")  # never ask at the terminal
        except (OSError, ValueError) as error:
            raise SinkRefusedError(
                f"{where}: its certificates can't be used ({type(error).__name__})"
            ) from None
        return made

    return context


@contextmanager
def _as_file(pem: Secret) -> Iterator[str]:
    """The name of a file that holds it, for OpenSSL reads a chain from files only: in memory where there is that."""
    if hasattr(os, "memfd_create"):
        number, name = os.memfd_create("keyturn"), None
    else:
        number, name = tempfile.mkstemp()
    try:
        with os.fdopen(number, "wb") as file:
            file.write(pem.reveal())
            file.flush()
            yield name or f"/proc/self/fd/{number}"
    finally:
        if name is not None:
            Path(name).unlink()
