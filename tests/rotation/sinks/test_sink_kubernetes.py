"""The Kubernetes sink against a strict fake: the Secret, the rollout, and who may ask."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.errors import KeyturnError
from keyturn.rotation.sinks import kubernetes
from keyturn.rotation.sinks.interface import (
    SinkChangedError,
    SinkRefusedError,
    SinkUnavailableError,
)
from keyturn.rotation.sinks.kubernetes_rollout import Rollout, rollout_of
from keyturn.rotation.sinks.pairs import is_as_expected
from rotation.sinks.fakes.kubernetes_api import KubernetesFake
from rotation.sinks.fakes.loopback import Fault, Reply
from rotation.sinks.sink_conformance import (
    PlaceUnderTest,
    SinkConformance,
    new_context,
    new_pair,
    surroundings,
)
from rotation.sinks.torn_reads import read_while_written
from secret_forms import names_found

TOKEN = "kubernetes-token-of-the-tests"
SECRET = "secrets/aws"


class HeldClock:
    """Time that passes only when the test says so."""

    def __init__(self, each: float = 0.0) -> None:
        self.now, self.each = 0.0, each

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        self.now += self.each
        return self.now


@pytest.fixture
def fake() -> Iterator[KubernetesFake]:
    with KubernetesFake(TOKEN).living() as living:
        yield living


def kubeconfig(file: Path, server: str, user: dict[str, object], **cluster: object) -> Path:
    """As `kubectl config view --raw --minify -o json` writes it."""
    file.write_text(
        json.dumps(
            {
                "kind": "Config",
                "apiVersion": "v1",
                "current-context": "ci",
                "contexts": [{"name": "ci", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return file


def sink_at(
    fake: KubernetesFake, tmp_path: Path, clock: HeldClock | None = None, **settings: object
) -> kubernetes.KubernetesSink:
    config = kubeconfig(tmp_path / "kubeconfig.json", fake.url, {"token": TOKEN})
    given = {"namespace": "team", "secret": "aws", "create": True, "kubeconfig": str(config), **settings}
    return kubernetes.KubernetesSink("k8s", given, surroundings({}), clock=clock or HeldClock())


def fields(pair: AccessKeyPair) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": pair.access_key_id, "AWS_SECRET_ACCESS_KEY": pair.secret.reveal().decode()}


class TestKubernetesConformance(SinkConformance):
    @pytest.fixture
    def place(self, fake: KubernetesFake, tmp_path: Path) -> PlaceUnderTest:
        return PlaceUnderTest(
            sink_at(fake, tmp_path),
            lambda pair: fake.put_secret("aws", fields(pair)),
            lambda: dict(fake.state.get(SECRET, {}).get("metadata", {})),
        )


def test_other_data_and_all_metadata_are_kept(fake: KubernetesFake, tmp_path: Path) -> None:
    metadata = {"labels": {"app": "web"}, "annotations": {"a": "b"}}
    fake.put_secret("aws", {"password": "theirs"}, metadata=metadata, type="Opaque")
    sink, pair = sink_at(fake, tmp_path), new_pair()
    sink.write(pair, expect=sink.read(), context=new_context())
    assert fake.data("aws") == {"password": "theirs", **fields(pair)}
    assert fake.state[SECRET]["metadata"]["labels"] == {"app": "web"}
    assert fake.state[SECRET]["type"] == "Opaque"


def test_a_missing_secret_is_created_only_if_told_to(fake: KubernetesFake, tmp_path: Path) -> None:
    with pytest.raises(SinkRefusedError, match="`create` is not set"):
        sink_at(fake, tmp_path, create=False).read()


def test_the_server_refuses_a_write_that_comes_between_reading_and_writing(
    fake: KubernetesFake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, sink = new_pair(), sink_at(fake, tmp_path)
    real = is_as_expected

    def and_then_they_write(*arguments: Any) -> bool:
        fake.put_secret("aws", fields(theirs))
        return real(*arguments)

    monkeypatch.setattr(kubernetes, "is_as_expected", and_then_they_write)
    for _ in ("created", "changed"):
        with pytest.raises(SinkChangedError):
            sink.write(new_pair(), expect=sink.read(), context=new_context())
    assert fake.data("aws") == fields(theirs)


def test_an_immutable_secret_is_refused(fake: KubernetesFake, tmp_path: Path) -> None:
    fake.put_secret("aws", fields(new_pair()), immutable=True)
    with pytest.raises(SinkRefusedError, match="immutable"):
        sink_at(fake, tmp_path).test()


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize(
    "fault",
    [Fault(Reply(500)), Fault(Reply(429, headers={"Retry-After": "3"})), Fault(is_cut=True)],
    ids=["500", "429", "cut"],
)
def test_whichever_call_fails_the_repeat_completes_the_write(
    fake: KubernetesFake, tmp_path: Path, failing: int, fault: Fault
) -> None:
    fake.put_secret("aws", fields(new_pair()))
    sink, pair, context = sink_at(fake, tmp_path), new_pair(), new_context()
    before = sink.read()
    fake.arm({failing: fault})
    with pytest.raises(SinkUnavailableError):
        sink.write(pair, expect=before, context=context)
    sink.write(pair, expect=before, context=context)
    assert fake.data("aws") == fields(pair)


def test_a_patch_that_was_acknowledged_and_dropped_is_noticed(fake: KubernetesFake, tmp_path: Path) -> None:
    fake.put_secret("aws", fields(new_pair()))
    sink, pair = sink_at(fake, tmp_path), new_pair()
    before = sink.read()
    fake.arm({2: Fault(is_dropped=True)})
    sink.write(pair, expect=before, context=new_context())
    assert not sink.holds(pair, before=before)


def test_the_test_asks_the_server_and_changes_nothing(fake: KubernetesFake, tmp_path: Path) -> None:
    fake.put_workload("deployments/web")
    before = fake.snapshot()
    sink_at(fake, tmp_path, restart=["deployment/web"]).test()
    fake.put_secret("aws", fields(new_pair()))
    sink_at(fake, tmp_path, restart=["deployment/web"]).test()
    del fake.state[SECRET]
    assert fake.state == before
    with pytest.raises(SinkRefusedError, match="404"):
        sink_at(fake, tmp_path, restart=["statefulset/web"]).test()


def test_no_recorded_url_holds_a_secret(fake: KubernetesFake, tmp_path: Path) -> None:
    sink, pair = sink_at(fake, tmp_path), new_pair()
    sink.write(pair, expect=sink.read(), context=new_context())
    secrets = {"secret": pair.secret.reveal(), "token": TOKEN.encode()}
    assert names_found("\n".join(fake.calls).encode(), secrets) == []


# The rollout

NEW_ONE_STARTS = {"observedGeneration": 2, "updatedReplicas": 1, "replicas": 3, "updatedNumberScheduled": 1}
OLD_ONES_END = {"updatedReplicas": 2, "replicas": 3, "updatedNumberScheduled": 2, "numberAvailable": 1}
ALL_SERVE = {
    "observedGeneration": 2,
    "updatedReplicas": 2,
    "replicas": 2,
    "availableReplicas": 2,
    "updatedNumberScheduled": 2,
    "numberAvailable": 2,
    "currentRevision": "b",
    "updateRevision": "b",
}


@pytest.mark.parametrize("kind", ["deployment", "statefulset", "daemonset"])
def test_a_restart_is_waited_for_until_all_new_pods_serve(
    fake: KubernetesFake, tmp_path: Path, kind: str
) -> None:
    fake.put_workload(f"{kind}s/web")
    fake.rollout_steps = [NEW_ONE_STARTS | {"updateRevision": "b"}, OLD_ONES_END, ALL_SERVE]
    sink = sink_at(fake, tmp_path, restart=[f"{kind}/web"])
    assert sink.describe().has_reload
    sink.reload(new_context())
    assert fake.rollout_steps == []
    assert fake.restarts == 1


def test_a_repeated_reload_restarts_nothing_again(fake: KubernetesFake, tmp_path: Path) -> None:
    fake.put_workload("deployments/web")
    fake.rollout_steps = [ALL_SERVE]
    sink, context = sink_at(fake, tmp_path, restart=["deployment/web"]), new_context()
    sink.reload(context)
    sink.reload(context)
    assert fake.restarts == 1


def test_a_watch_that_ends_early_is_begun_again(fake: KubernetesFake, tmp_path: Path) -> None:
    fake.put_workload("deployments/web")
    fake.rollout_steps = [{"ends": True}, NEW_ONE_STARTS, {"ends": True}, ALL_SERVE]
    sink_at(fake, tmp_path, restart=["deployment/web"]).reload(new_context())
    assert fake.watches == 3


def test_a_rollout_that_takes_too_long_is_to_be_tried_again(fake: KubernetesFake, tmp_path: Path) -> None:
    fake.put_workload("deployments/web")
    sink = sink_at(fake, tmp_path, HeldClock(each=11), restart=["deployment/web"], restart_timeout=60)
    with pytest.raises(SinkUnavailableError, match="deployment/web is still rolling out"):
        sink.reload(new_context())


def test_a_server_that_ends_each_watch_at_once_is_not_asked_for_ever(
    fake: KubernetesFake, tmp_path: Path
) -> None:
    fake.put_workload("deployments/web")
    with pytest.raises(SinkUnavailableError, match="still rolling out"):
        sink_at(fake, tmp_path, restart=["deployment/web"]).reload(new_context())
    assert fake.watches <= 200


@pytest.mark.parametrize(
    ("kind", "spec", "status"),
    [
        ("deployment", {"paused": True}, {}),
        (
            "deployment",
            {},
            {"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]},
        ),
        ("statefulset", {"updateStrategy": {"type": "OnDelete"}}, {}),
        ("statefulset", {"updateStrategy": {"rollingUpdate": {"partition": 2}}}, {}),
        ("daemonset", {"updateStrategy": {"type": "OnDelete"}}, {}),
    ],
)
def test_a_rollout_that_will_not_end_by_waiting_is_stuck(
    kind: str, spec: dict[str, object], status: dict[str, object]
) -> None:
    found = {"metadata": {"generation": 1}, "spec": spec, "status": status}
    assert rollout_of(kind, found) is Rollout.STUCK


def test_a_workload_without_pods_has_nothing_to_wait_for() -> None:
    found = {"metadata": {"generation": 3}, "spec": {"replicas": 0}, "status": {"observedGeneration": 3}}
    assert rollout_of("deployment", found) is Rollout.DONE
    assert rollout_of("statefulset", found) is Rollout.DONE


def test_what_is_no_workload_is_never_done() -> None:
    strange: list[dict[str, object]] = [
        {},
        {"status": []},
        {"metadata": {"generation": "1"}, "status": {"observedGeneration": 9}},
    ]
    for found in strange:
        assert rollout_of("deployment", found) is Rollout.GOES_ON


# Who may ask


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of the test's own."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        made = (
            _certificate(name, name, key)
            .add_extension(constraints, critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(made.sign(key, hashes.SHA256()), key)

    def issue(self, usage: x509.ObjectIdentifier) -> tuple[bytes, bytes]:
        """Certificate and key, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rotator")])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        made = (
            _certificate(name, self.certificate.subject, key)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        plain = serialization.NoEncryption()
        return made.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
    )


@pytest.fixture
def authority_of_cluster() -> Authority:
    return Authority.new()


@pytest.fixture
def server_side(authority_of_cluster: Authority, tmp_path: Path) -> ssl.SSLContext:
    certificate, key = authority_of_cluster.issue(ExtendedKeyUsageOID.SERVER_AUTH)
    (tmp_path / "server.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    return context


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def opened(config: Path) -> kubernetes.KubernetesSink:
    settings = {"namespace": "team", "secret": "aws", "create": True, "kubeconfig": str(config)}
    return kubernetes.KubernetesSink("k8s", settings, surroundings({}))


@pytest.mark.parametrize("as_data", [True, False])
def test_a_client_certificate_proves_who_asks(
    authority_of_cluster: Authority, server_side: ssl.SSLContext, tmp_path: Path, *, as_data: bool
) -> None:
    server_side.load_verify_locations(cadata=authority_of_cluster.pem.decode())
    server_side.verify_mode = ssl.CERT_REQUIRED
    certificate, key = authority_of_cluster.issue(ExtendedKeyUsageOID.CLIENT_AUTH)
    with KubernetesFake(None, tls=server_side).living() as fake:
        parts = {"certificate-authority": authority_of_cluster.pem}
        own = {"client-certificate": certificate, "client-key": key}
        if as_data:
            cluster: dict[str, object] = {f"{name}-data": encoded(pem) for name, pem in parts.items()}
            user: dict[str, object] = {f"{name}-data": encoded(pem) for name, pem in own.items()}
        else:
            for name, pem in (parts | own).items():
                (tmp_path / name).write_bytes(pem)
            cluster, user = {name: name for name in parts}, {name: name for name in own}
        sink, pair = opened(kubeconfig(tmp_path / "config.json", fake.url, user, **cluster)), new_pair()
        sink.write(pair, expect=sink.read(), context=new_context())
        assert fake.data("aws") == fields(pair)
        stranger = opened(kubeconfig(tmp_path / "other.json", fake.url, {"token": "x"}, **cluster))
        with pytest.raises(SinkUnavailableError):
            stranger.read()


def test_a_server_that_does_not_prove_its_name_gets_nothing(
    server_side: ssl.SSLContext, tmp_path: Path
) -> None:
    other = Authority.new()
    with KubernetesFake(TOKEN, tls=server_side).living() as fake:
        config = kubeconfig(
            tmp_path / "c.json",
            fake.url,
            {"token": TOKEN},
            **{"certificate-authority-data": encoded(other.pem)},
        )
        with pytest.raises(SinkRefusedError, match="does not prove its name"):
            opened(config).read()
        assert fake.calls == []


def test_a_pod_uses_its_service_account_and_reads_the_token_anew_each_time(
    authority_of_cluster: Authority, server_side: ssl.SSLContext, tmp_path: Path
) -> None:
    with KubernetesFake(TOKEN, tls=server_side).living() as fake:
        (tmp_path / "ca.crt").write_bytes(authority_of_cluster.pem)
        (tmp_path / "token").write_text("the token of yesterday")
        host, port = fake.url.removeprefix("https://").split(":")
        around = surroundings({"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port})
        settings = {"namespace": "team", "secret": "aws", "create": True, "service_account": str(tmp_path)}
        sink = kubernetes.TYPE.open("k8s", settings, around)
        (tmp_path / "token").write_text("yesterday")
        with pytest.raises(SinkRefusedError, match="401"):
            sink.read()
        (tmp_path / "token").write_text(TOKEN)
        assert sink.read().pair is None


def test_outside_a_pod_a_kubeconfig_is_asked_for() -> None:
    sink = kubernetes.TYPE.open("k8s", {"namespace": "team", "secret": "aws"}, surroundings({}))
    with pytest.raises(SinkRefusedError, match="set kubeconfig"):
        sink.read()


@pytest.mark.parametrize(
    ("user", "cluster", "why"),
    [
        ({"exec": {"command": "aws"}}, {}, "exec"),
        ({"token": "t", "as": "admin"}, {}, "has as"),
        ({}, {}, "no token and no client certificate"),
        ({"token": "t"}, {"insecure-skip-tls-verify": True}, "insecure-skip-tls-verify"),
        ({"client-certificate-data": "eA=="}, {}, "half of a client certificate"),
        ({"client-certificate-data": "?", "client-key-data": "?"}, {}, "not base64"),
        ({"token": "t"}, {"server": "http://10.0.0.1"}, "https"),
        ({"client-certificate-data": "eA==", "client-key-data": "eA=="}, {}, "certificates can't be used"),
    ],
)
def test_a_kubeconfig_that_this_sink_can_not_use_says_why(
    tmp_path: Path, user: dict[str, object], cluster: dict[str, object], why: str
) -> None:
    server = str(cluster.pop("server", "https://127.0.0.1:9"))
    with pytest.raises(SinkRefusedError, match=why):
        opened(kubeconfig(tmp_path / "c.json", server, user, **cluster)).read()


def test_a_kubeconfig_in_yaml_is_refused_with_the_command_that_writes_json(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("apiVersion: v1\nkind: Config\n")
    with pytest.raises(SinkRefusedError, match="kubectl config view --raw --minify -o json"):
        opened(tmp_path / "config").read()


@pytest.mark.parametrize(
    "settings",
    [
        {"namespace": "a/b"},
        {"secret": "../x"},
        {"restart": ["pod/web"]},
        {"restart": ["deployment/"]},
        {"restart_timeout": 0},
        {"id_field": "a b"},
    ],
)
def test_settings_that_name_no_place_are_errors(settings: dict[str, object]) -> None:
    with pytest.raises(KeyturnError):
        kubernetes.TYPE.open("k8s", {"namespace": "team", "secret": "aws", **settings}, surroundings({}))


def test_no_reader_sees_half_of_a_pair(fake: KubernetesFake, tmp_path: Path) -> None:
    seen = read_while_written(sink_at(fake, tmp_path), sink_at(fake, tmp_path), writes=50)
    assert seen.reads > 0
    assert seen.torn == 0


def test_a_role_that_may_not_watch_is_refused_at_once(fake: KubernetesFake, tmp_path: Path) -> None:
    fake.put_workload("deployments/web")
    fake.may_watch = False
    with pytest.raises(SinkRefusedError, match="to watch"):
        sink_at(fake, tmp_path, restart=["deployment/web"]).reload(new_context())
