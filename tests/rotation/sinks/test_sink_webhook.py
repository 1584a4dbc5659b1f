"""The webhook: signed, idempotent, never redirected, bounded; read back without the secret crossing again."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.interface import (
    ReadBack,
    Sink,
    SinkChangedError,
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
)
from keyturn.rotation.sinks.registry import open_sink
from keyturn.rotation.sinks.webhook import signature
from rotation.sinks.sink_conformance import (
    NOTHING,
    PlaceUnderTest,
    SinkConformance,
    new_context,
    new_pair,
    surroundings,
)
from rotation.sinks.sink_receiver import KEY, Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def webhook(url: str, **more: Any) -> Sink:
    settings = {"type": "webhook", "url": url, "key_variable": "HOOK_KEY", **more}
    return open_sink("hook", settings, surroundings({"HOOK_KEY": KEY}))


class TestWebhook(SinkConformance):
    @pytest.fixture
    def place(self, receiver: Receiver) -> PlaceUnderTest:
        return PlaceUnderTest(
            webhook(f"{receiver.url}/keys", status_url=f"{receiver.url}/held"),
            lambda pair: receiver.hold(pair.access_key_id, pair.secret.reveal()),
            mark=lambda: receiver.posts,
        )


class TestWebhookThatShowsNothing(SinkConformance):
    @pytest.fixture
    def place(self, receiver: Receiver) -> PlaceUnderTest:
        # Without a status the service itself compares: it knows what the rotation expects only by what it is told.
        receiver.answer = _takes_everything(receiver)  # type: ignore[method-assign]  # a simpler service
        return PlaceUnderTest(
            webhook(receiver.url),
            lambda pair: receiver.hold(pair.access_key_id, pair.secret.reveal()),
            mark=lambda: receiver.posts,
        )


def _takes_everything(receiver: Receiver) -> Any:
    def answer(_method: str, _path: str, _headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        said = json.loads(body)
        receiver.hold(said["access_key_id"], said["secret_access_key"].encode())
        return 204, b""

    return answer


def test_the_body_carries_the_pair_and_the_headers_prove_who_sent_it(receiver: Receiver) -> None:
    pair, context = new_pair(), new_context()
    webhook(f"{receiver.url}/a/b?c=d").write(pair, expect=NOTHING, context=context)
    ((method, path, headers, body),) = receiver.calls
    assert (method, path) == ("POST", "/a/b?c=d")
    assert json.loads(body) == {
        "type": "access_key",
        "rotation_id": context.rotation_id,
        "user_name": context.user_name,
        "access_key_id": pair.access_key_id,
        "secret_access_key": pair.secret.reveal().decode(),
    }
    assert headers["Idempotency-Key"] == context.idempotency_key
    assert headers["Keyturn-Signature"] == signature(
        Secret(KEY.encode()), headers["Keyturn-Timestamp"], Secret(body)
    )


def test_a_service_that_is_asked_what_it_holds_is_told_what_was_expected(receiver: Receiver) -> None:
    sink, old, new = webhook(receiver.url, status_url=receiver.url), new_pair(), new_pair()
    for pair in (old, new):
        sink.write(pair, expect=sink.read(), context=new_context())
    posted = [json.loads(body) for method, _, _, body in receiver.calls if method == "POST"]
    assert [said["expected_access_key_id"] for said in posted] == [None, old.access_key_id]


def test_the_signature_is_hmac_sha256_of_timestamp_and_body() -> None:
    # printf '1700000000.{}' | openssl dgst -sha256 -hmac 'a key of at least sixteen bytes'
    told = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", KEY], input=b"1700000000.{}", capture_output=True, check=True
    )
    found = signature(Secret(KEY.encode()), "1700000000", Secret(b"{}"))
    assert found.removeprefix("v1=") == told.stdout.decode().split()[-1]


@pytest.mark.parametrize(
    ("status", "headers", "kind", "message"),
    [
        (500, {}, SinkUnavailableError, "answers 500"),
        (429, {"Retry-After": "7"}, SinkUnavailableError, "answers 429"),
        (408, {}, SinkUnavailableError, "answers 408"),
        (409, {}, SinkChangedError, "another key"),
        (412, {}, SinkChangedError, "another key"),
        (401, {}, SinkRefusedError, "answers 401"),
        (307, {"Location": "http://127.0.0.1:1/"}, SinkRefusedError, "redirect"),
        (200, {"X": "y"}, None, ""),
    ],
)
def test_statuses_say_what_to_do(
    receiver: Receiver, status: int, headers: dict[str, str], kind: type[SinkError] | None, message: str
) -> None:
    receiver.say = (status, headers, b"")
    sink = webhook(receiver.url)
    if kind is None:
        sink.write(new_pair(), expect=NOTHING, context=new_context())
        return
    with pytest.raises(kind, match=message) as caught:
        sink.write(new_pair(), expect=NOTHING, context=new_context())
    assert len(receiver.calls) == 1
    assert getattr(caught.value, "retry_after", None) == (7.0 if "Retry-After" in headers else None)


def test_a_service_that_only_tells_a_version_is_read_back_by_its_change(receiver: Receiver) -> None:
    sink = webhook(receiver.url, status_url=receiver.url)
    receiver.say = (200, {}, b'{"version": "1"}')
    before, pair, context = sink.read(), new_pair(), new_context()
    assert not sink.holds(pair, before=before)
    receiver.say = (200, {}, b'{"version": "2"}')
    assert sink.holds(pair, before=before)
    with pytest.raises(SinkChangedError):
        sink.write(pair, expect=before, context=context)
    sink.write(pair, expect=before, context=replace(context, is_repeat=True))
    assert sink.describe().read_back is ReadBack.VERSION


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a": {}}', b"x" * 100_000])
def test_a_status_that_is_no_flat_object_is_refused(receiver: Receiver, body: bytes) -> None:
    receiver.say = (200, {}, body)
    with pytest.raises(SinkRefusedError):
        webhook(receiver.url, status_url=receiver.url).read()


def test_a_server_that_drips_is_left_when_the_time_is_over(receiver: Receiver) -> None:
    receiver.drips = True
    with pytest.raises(SinkUnavailableError, match="takes too long"):
        webhook(receiver.url, timeout=1).write(new_pair(), expect=NOTHING, context=new_context())


def test_nobody_there_is_worth_another_try() -> None:
    with pytest.raises(SinkUnavailableError, match="gave no answer"):
        webhook("http://127.0.0.1:9/").write(new_pair(), expect=NOTHING, context=new_context())


def test_the_key_of_the_signature_may_lie_in_a_private_file(receiver: Receiver, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    settings = {"type": "webhook", "url": receiver.url, "status_url": receiver.url, "key_file": str(path)}
    sink = open_sink("hook", settings, surroundings({}))
    sink.test()
    sink.write(new_pair(), expect=NOTHING, context=new_context())
    assert receiver.posts == 1
    path.chmod(0o644)
    with pytest.raises(SinkRefusedError, match="can be read by others"):
        sink.test()


def test_a_missing_or_short_key_is_refused_before_anything_is_sent(receiver: Receiver) -> None:
    settings = {"type": "webhook", "url": receiver.url, "key_variable": "HOOK_KEY"}
    for environment in ({}, {"HOOK_KEY": "short"}):
        with pytest.raises(SinkRefusedError, match="HOOK_KEY is missing, or shorter"):
            open_sink("hook", settings, surroundings(environment)).write(
                new_pair(), expect=NOTHING, context=new_context()
            )
    assert receiver.calls == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "http://127.0.0.1.example.org/",
        "ftp://127.0.0.1/",
        "https://user:password@example.org/",
        "https://",
        "https://example.org:x/",
        "https://[::1/",
        "https://example.org/a b",
        "/path",
    ],
)
def test_a_url_that_would_show_the_secret_or_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(KeyturnError, match="sink hook: url"):
        webhook(url)


def test_paths_of_hooks_are_not_shown(receiver: Receiver) -> None:
    sink = webhook(f"{receiver.url}/services/T00/B00/hidden-part", reload_url=f"{receiver.url}/r")
    assert "hidden-part" not in sink.describe().where
    receiver.say = (500, {}, b"")
    with pytest.raises(SinkUnavailableError) as caught:
        sink.write(new_pair(), expect=NOTHING, context=new_context())
    assert "hidden-part" not in str(caught.value)
    assert KEY not in repr(sink)


def certificate(tmp_path: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate of this machine that proves itself, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(made.public_bytes(Encoding.PEM))
    both = tmp_path / "both.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    both.write_bytes(private + path.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return path, context


def test_over_tls_only_a_server_that_proves_its_name_gets_the_secret(tmp_path: Path) -> None:
    path, context = certificate(tmp_path, "127.0.0.1")
    with receiving(context) as receiver:
        with pytest.raises(SinkRefusedError, match="does not prove its name"):
            webhook(receiver.url).write(new_pair(), expect=NOTHING, context=new_context())
        assert receiver.calls == []
        webhook(receiver.url, ca_file=str(path)).write(new_pair(), expect=NOTHING, context=new_context())
        assert receiver.posts == 1


def test_a_certificate_for_another_name_is_none(tmp_path: Path) -> None:
    path, context = certificate(tmp_path, "127.0.0.2")
    with receiving(context) as receiver:
        with pytest.raises(SinkRefusedError, match="does not prove its name"):
            webhook(receiver.url, ca_file=str(path)).write(new_pair(), expect=NOTHING, context=new_context())
        assert receiver.calls == []
