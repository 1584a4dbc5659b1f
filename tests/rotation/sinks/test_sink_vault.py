"""The Vault sink against a real OpenBao server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest

from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.errors import KeyturnError
from keyturn.rotation.sinks import vault
from keyturn.rotation.sinks.interface import (
    ReadBack,
    SinkChangedError,
    SinkRefusedError,
    SinkUnavailableError,
)
from keyturn.rotation.sinks.pairs import is_as_expected
from rotation.sinks.real_servers import BAO, BaoServer, needs, openbao_server
from rotation.sinks.sink_conformance import (
    PlaceUnderTest,
    SinkConformance,
    new_context,
    new_pair,
    surroundings,
)
from rotation.sinks.torn_reads import read_while_written

pytestmark = needs(BAO)


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaoServer]:
    with openbao_server(tmp_path_factory.mktemp("bao")) as server:
        yield server


class Client:
    """What somebody else does at the server, past the sink."""

    def __init__(self, bao: BaoServer, token: str | None = None) -> None:
        self._bao = bao
        self._token = token or bao.root_token.reveal().decode()

    def ask(self, method: str, path: str, body: object = None, namespace: str = "") -> Any:
        request = Request(  # noqa: S310 - loopback
            f"{self._bao.url}/v1/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Vault-Token": self._token, "X-Vault-Namespace": namespace},
        )
        with urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            return json.loads(answer.read() or b"null")

    def put(self, path: str, data: dict[str, object], namespace: str = "") -> None:
        self.ask("POST", f"secret/data/{path}", {"data": data}, namespace)

    def get(self, path: str) -> Any:
        return self.ask("GET", f"secret/data/{path}")["data"]

    def token_for(self, rules: str) -> str:
        name = uuid.uuid4().hex
        self.ask("PUT", f"sys/policies/acl/{name}", {"policy": rules})
        made = self.ask("POST", "auth/token/create", {"policies": [name], "ttl": "10m"})
        return str(made["auth"]["client_token"])


def environment(bao: BaoServer, token: str | None = None) -> dict[str, str]:
    return {"VAULT_ADDR": bao.url, "VAULT_TOKEN": token or bao.root_token.reveal().decode()}


def sink_at(bao: BaoServer, path: str, token: str | None = None, **settings: object) -> vault.VaultSink:
    given = {"path": path, "create": True, **settings}
    return vault.TYPE.open("v", given, surroundings(environment(bao, token)))


@pytest.fixture
def path() -> str:
    return f"team/{uuid.uuid4().hex}"


def fields(pair: AccessKeyPair) -> dict[str, object]:
    return {"AWS_ACCESS_KEY_ID": pair.access_key_id, "AWS_SECRET_ACCESS_KEY": pair.secret.reveal().decode()}


class TestVaultConformance(SinkConformance):
    @pytest.fixture
    def place(self, bao: BaoServer, path: str) -> PlaceUnderTest:
        sink = sink_at(bao, path)
        return PlaceUnderTest(
            sink, lambda pair: Client(bao).put(path, fields(pair)), lambda: sink.read().version
        )


def test_the_other_fields_of_the_secret_are_kept(bao: BaoServer, path: str) -> None:
    others = {"note": "größer", "n": 1.5, "big": 2**40, "deep": {"a": [1, None, True]}}
    Client(bao).put(path, {**others, **fields(new_pair())})
    sink, pair = sink_at(bao, path), new_pair()
    sink.write(pair, expect=sink.read(), context=new_context())
    assert Client(bao).get(path)["data"] == {**others, **fields(pair)}


def test_a_change_of_another_field_since_the_snapshot_is_no_conflict_and_is_kept(
    bao: BaoServer, path: str
) -> None:
    old, new = new_pair(), new_pair()
    Client(bao).put(path, fields(old))
    sink = sink_at(bao, path)
    before = sink.read()
    Client(bao).put(path, {**fields(old), "note": "theirs"})
    sink.write(new, expect=before, context=new_context())
    assert Client(bao).get(path)["data"] == {**fields(new), "note": "theirs"}


def test_the_server_itself_refuses_a_write_that_comes_between_reading_and_writing(
    bao: BaoServer, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = new_pair()
    sink = sink_at(bao, path)
    before = sink.read()
    real = is_as_expected

    def and_then_they_write(*arguments: Any) -> bool:
        Client(bao).put(path, fields(theirs))
        return real(*arguments)

    monkeypatch.setattr(vault, "is_as_expected", and_then_they_write)
    with pytest.raises(SinkChangedError):
        sink.write(new_pair(), expect=before, context=new_context())
    assert Client(bao).get(path)["data"] == fields(theirs)


def test_a_deleted_secret_is_written_as_its_next_version(bao: BaoServer, path: str) -> None:
    sink, pair = sink_at(bao, path), new_pair()
    sink.write(new_pair(), expect=sink.read(), context=new_context())
    Client(bao).ask("DELETE", f"secret/data/{path}")
    before = sink.read()
    assert before.pair is None
    sink.write(pair, expect=before, context=new_context())
    assert Client(bao).get(path)["metadata"]["version"] == 2
    assert sink.read().pair == pair


def test_a_missing_secret_is_created_only_if_told_to(bao: BaoServer, path: str) -> None:
    with pytest.raises(SinkRefusedError, match="`create` is not set"):
        sink_at(bao, path, create=False).read()


def test_a_namespace_is_another_world(bao: BaoServer, path: str) -> None:
    space = f"ns{uuid.uuid4().hex[:8]}"
    Client(bao).ask("POST", f"sys/namespaces/{space}", {})
    Client(bao).ask("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}}, space)
    sink, pair = sink_at(bao, path, namespace=space), new_pair()
    sink.write(pair, expect=sink.read(), context=new_context())
    assert sink.read().pair == pair
    assert sink_at(bao, path).read().pair is None


def test_the_test_finds_a_token_that_may_only_read(bao: BaoServer, path: str) -> None:
    client = Client(bao)
    client.put(path, fields(new_pair()))
    reader = client.token_for(f'path "secret/data/{path}" {{ capabilities = ["read"] }}')
    writer = client.token_for(f'path "secret/data/{path}" {{ capabilities = ["read", "update"] }}')
    sink_at(bao, path, writer).test()
    with pytest.raises(SinkRefusedError, match="not write"):
        sink_at(bao, path, reader).test()
    with pytest.raises(SinkRefusedError, match="403"):
        sink_at(bao, f"{path}-elsewhere", reader).read()


def test_a_token_comes_from_a_file_when_no_variable_holds_one(
    bao: BaoServer, path: str, tmp_path: Any
) -> None:
    (tmp_path / ".vault-token").write_bytes(bao.root_token.reveal() + b"\n")
    around = surroundings({"VAULT_ADDR": bao.url, "HOME": str(tmp_path)})
    vault.TYPE.open("v", {"path": path, "create": True}, around).test()


def test_without_a_token_it_says_where_it_looked(bao: BaoServer, path: str) -> None:
    around = surroundings({"VAULT_ADDR": bao.url})
    with pytest.raises(SinkRefusedError, match="variable VAULT_TOKEN"):
        vault.TYPE.open("v", {"path": path}, around).read()


def test_a_mount_of_version_1_is_refused(bao: BaoServer, path: str) -> None:
    mount = f"kv{uuid.uuid4().hex[:8]}"
    Client(bao).ask("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "1"}})
    Client(bao).ask("POST", f"{mount}/data/{path}", {"a": "b"})
    with pytest.raises(SinkRefusedError, match="version 2"):
        sink_at(bao, path, mount=mount).read()


def test_a_sealed_server_is_unavailable_and_not_refused(tmp_path: Any) -> None:
    with openbao_server(tmp_path) as own:
        sink = sink_at(own, "x")
        sink.read()
        Client(own).ask("PUT", "sys/seal")
        with pytest.raises(SinkUnavailableError, match="sealed"):
            sink.read()


def test_a_server_that_is_gone_is_unavailable() -> None:
    around = surroundings({"VAULT_ADDR": "http://127.0.0.1:9", "VAULT_TOKEN": "t"})
    with pytest.raises(SinkUnavailableError):
        vault.TYPE.open("v", {"path": "x"}, around).read()


@pytest.mark.parametrize(
    "settings",
    [
        {"path": "a/../b"},
        {"path": "a", "mount": "/"},
        {"path": ""},
        {"path": "a", "address": "http://vault.example"},
    ],
)
def test_settings_that_name_no_place_are_errors(settings: dict[str, object]) -> None:
    with pytest.raises(KeyturnError):
        vault.TYPE.open("v", {"address": "https://vault.example", **settings}, surroundings({}))


def test_the_plan_is_told_what_it_is() -> None:
    around = surroundings({"VAULT_ADDR": "https://vault.example"})
    traits = vault.TYPE.open("v", {"path": "ci/deploy"}, around).describe()
    assert traits.where == "vault secret/ci/deploy"
    assert (traits.is_atomic, traits.read_back, traits.has_reload) == (True, ReadBack.PAIR, False)


def test_no_reader_sees_half_of_a_pair(bao: BaoServer, path: str) -> None:
    seen = read_while_written(sink_at(bao, path), sink_at(bao, path), writes=50)
    assert seen.reads > 0
    assert seen.torn == 0
