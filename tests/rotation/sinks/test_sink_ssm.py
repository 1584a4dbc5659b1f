"""The Systems Manager sink against moto_server: one parameter, and two."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest

from authority.cutting_proxy import cutting_proxy
from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.errors import KeyturnError
from keyturn.rotation.sinks import ssm
from keyturn.rotation.sinks.interface import Sink, SinkChangedError, SinkRefusedError, Surroundings
from keyturn.rotation.sinks.pairs import is_as_expected
from living_authority import REGION
from rotation.sinks.real_servers import MOTO, moto_server, needs
from rotation.sinks.sink_conformance import (
    PlaceUnderTest,
    SinkConformance,
    new_context,
    new_pair,
    surroundings,
)
from rotation.sinks.torn_reads import read_while_written

pytestmark = needs(MOTO)


_SESSION = botocore.session.Session()


@dataclass(frozen=True, slots=True)
class Ssm:
    url: str
    around: Surroundings

    def one(self, parameter: str, **settings: object) -> Sink:
        return ssm.TYPE.open("p", {"parameter": parameter, "create": True, **settings}, self.around)

    def two(self, name: str) -> Sink:
        settings = {"id_parameter": f"{name}/id", "secret_parameter": f"{name}/secret", "create": True}
        return ssm.TYPE.open("p", settings, self.around)

    def call(self, operation: str, **parameters: Any) -> Any:
        client = _SESSION.create_client(
            "ssm",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="x",
        )
        try:
            return getattr(client, operation)(**parameters)
        finally:
            client.close()

    def put(self, name: str, value: str, **more: object) -> None:
        given = {"Type": "SecureString", "Overwrite": True, **more}
        self.call("put_parameter", Name=name, Value=value, **given)

    def value(self, name: str) -> str:
        return str(self.call("get_parameter", Name=name, WithDecryption=True)["Parameter"]["Value"])

    def described(self, name: str) -> Any:
        found = self.call("describe_parameters", ParameterFilters=[{"Key": "Name", "Values": [name]}])
        return found["Parameters"][0]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ssm]:
    home = tmp_path_factory.mktemp("moto")
    environment = {
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    with moto_server(home) as url:
        yield Ssm(url, replace(surroundings(environment), endpoint_url=url, region=REGION))


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return str(parts.hostname), int(parts.port or 0)


@pytest.fixture
def name() -> str:
    return f"/ci/{uuid.uuid4().hex}"


def fields(pair: AccessKeyPair) -> dict[str, object]:
    return {"AWS_ACCESS_KEY_ID": pair.access_key_id, "AWS_SECRET_ACCESS_KEY": pair.secret.reveal().decode()}


def then(act: Callable[[], None]) -> Callable[..., bool]:
    """`is_as_expected`, after which somebody else acts: between reading and writing."""
    real = is_as_expected

    def wrapped(*arguments: Any) -> bool:
        act()
        return real(*arguments)

    return wrapped


class TestOneParameterConformance(SinkConformance):
    @pytest.fixture
    def place(self, service: Ssm, name: str) -> PlaceUnderTest:
        sink = service.one(name)
        return PlaceUnderTest(
            sink, lambda pair: service.put(name, json.dumps(fields(pair))), lambda: sink.read().version
        )


class TestTwoParametersConformance(SinkConformance):
    @pytest.fixture
    def place(self, service: Ssm, name: str) -> PlaceUnderTest:
        sink = service.two(name)

        def put(pair: AccessKeyPair) -> None:
            service.put(f"{name}/id", pair.access_key_id)
            service.put(f"{name}/secret", pair.secret.reveal().decode())

        return PlaceUnderTest(sink, put, lambda: sink.read().version)


def test_the_other_fields_and_the_settings_of_the_parameter_are_kept(service: Ssm, name: str) -> None:
    key = "alias/their-own"
    service.put(name, json.dumps({"note": "kept", **fields(new_pair())}), KeyId=key, Description="theirs")
    sink, pair = service.one(name), new_pair()
    sink.write(pair, expect=sink.read(), context=new_context())
    assert json.loads(service.value(name)) == {"note": "kept", **fields(pair)}
    described = service.described(name)
    assert (described["KeyId"], described["Description"]) == (key, "theirs")


def test_what_was_overwritten_unseen_is_put_back(
    service: Ssm, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, theirs = new_pair(), new_pair()
    service.put(name, json.dumps(fields(old)))
    sink = service.one(name)
    before = sink.read()
    monkeypatch.setattr(
        ssm, "is_as_expected", then(lambda: service.put(name, json.dumps({**fields(theirs), "n": 1})))
    )
    with pytest.raises(SinkChangedError):
        sink.write(new_pair(), expect=before, context=new_context())
    assert json.loads(service.value(name)) == {**fields(theirs), "n": 1}


def test_our_own_write_sent_twice_is_no_conflict(
    service: Ssm, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, ours = new_pair(), new_pair()
    service.put(name, json.dumps(fields(old)))
    sink = service.one(name)
    before = sink.read()
    monkeypatch.setattr(ssm, "is_as_expected", then(lambda: service.put(name, json.dumps(fields(ours)))))
    sink.write(ours, expect=before, context=new_context())
    assert sink.read().pair == ours


def test_a_pair_that_was_torn_by_a_crash_is_completed_by_the_repeat(service: Ssm, name: str) -> None:
    old, new = new_pair(), new_pair()
    sink = service.two(name)
    sink.write(old, expect=sink.read(), context=new_context())
    before = sink.read()
    service.put(f"{name}/secret", new.secret.reveal().decode())
    sink.write(new, expect=before, context=new_context())
    assert sink.read().pair == new


def test_two_parameters_are_marked_as_not_atomic_and_one_is_atomic(service: Ssm) -> None:
    assert not service.two("/x").describe().is_atomic
    assert service.one("/x").describe().is_atomic


def test_the_secret_of_two_is_always_a_secure_string(service: Ssm, name: str) -> None:
    sink = service.two(name)
    sink.write(new_pair(), expect=sink.read(), context=new_context())
    assert service.described(f"{name}/secret")["Type"] == "SecureString"
    service.put(f"{name}-open/id", "AKIAIOSFODNN7EXAMPLE", Type="String")
    service.put(f"{name}-open/secret", "readable", Type="String")
    with pytest.raises(SinkRefusedError, match="SecureString"):
        service.two(f"{name}-open").read()


def test_a_missing_parameter_is_created_only_if_told_to(service: Ssm, name: str) -> None:
    with pytest.raises(SinkRefusedError, match="`create` is not set"):
        service.one(name, create=False).read()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"parameter": "/a", "id_parameter": "/b"},
        {"id_parameter": "/b"},
        {"id_parameter": "/b", "secret_parameter": "/b"},
    ],
)
def test_settings_must_say_one_or_two(settings: dict[str, object]) -> None:
    with pytest.raises(KeyturnError, match="set parameter, or"):
        ssm.TYPE.open("p", settings, surroundings({}))


def test_no_reader_sees_half_of_a_pair_in_one_parameter(service: Ssm, name: str) -> None:
    seen = read_while_written(service.one(name), service.one(name), writes=5)
    assert seen.reads > 0
    assert seen.torn == 0


def test_an_answer_that_is_lost_makes_a_version_more_and_no_conflict(service: Ssm, name: str) -> None:
    old, new = new_pair(), new_pair()
    service.put(name, json.dumps(fields(old)))
    before = service.one(name).read()
    with cutting_proxy(_place(service.url), b"PutParameter", keep=lambda _reply: b"") as proxy:
        behind = replace(service, around=replace(service.around, endpoint_url=proxy.url))
        behind.one(name).write(new, expect=before, context=new_context())
    held = service.one(name).read()
    assert (held.pair, held.version) == (new, "3")
