"""The Secrets Manager sink against our own authority and against moto_server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest

from authority.cutting_proxy import cutting_proxy
from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.errors import KeyturnError
from keyturn.rotation.sinks import secretsmanager
from keyturn.rotation.sinks.aws import AwsService
from keyturn.rotation.sinks.interface import (
    SinkChangedError,
    SinkRefusedError,
    SinkUnavailableError,
    Surroundings,
)
from keyturn.rotation.sinks.pairs import is_as_expected
from living_authority import REGION, living_authority
from rotation.sinks.real_servers import MOTO, moto_server, needs
from rotation.sinks.sink_conformance import (
    PlaceUnderTest,
    SinkConformance,
    new_context,
    new_pair,
    surroundings,
)
from rotation.sinks.torn_reads import read_while_written

_SESSION = botocore.session.Session()


@dataclass(frozen=True, slots=True)
class Aws:
    """An endpoint that offers Secrets Manager, and who may do everything there."""

    url: str
    environment: dict[str, str]

    @property
    def around(self) -> Surroundings:
        return replace(surroundings(self.environment), endpoint_url=self.url, region=REGION)

    def sink(self, secret_id: str, **settings: object) -> secretsmanager.SecretsManagerSink:
        return secretsmanager.TYPE.open(
            "sm", {"secret_id": secret_id, "create": True, **settings}, self.around
        )

    def call(self, operation: str, **parameters: Any) -> Any:
        """What somebody else does there, past the sink."""
        client = _SESSION.create_client(
            "secretsmanager",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )
        try:
            return getattr(client, operation)(**parameters)
        finally:
            client.close()

    def put(self, secret_id: str, value: str) -> None:
        try:
            self.call("create_secret", Name=secret_id, SecretString=value)
        except Exception as error:
            if type(error).__name__ != "ResourceExistsException":
                raise
            self.call("put_secret_value", SecretId=secret_id, SecretString=value)

    def value(self, secret_id: str) -> str:
        # The stage is named because moto_server's default does not follow AWSCURRENT when it moves.
        found = self.call("get_secret_value", SecretId=secret_id, VersionStage="AWSCURRENT")
        return str(found["SecretString"])

    def versions(self, secret_id: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = self.call("describe_secret", SecretId=secret_id)["VersionIdsToStages"]
        return found


@pytest.fixture(scope="module", params=["authority", pytest.param("moto_server", marks=needs(MOTO))])
def aws(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    home = tmp_path_factory.mktemp("aws")
    if request.param == "moto_server":
        with moto_server(home) as url:
            yield Aws(
                url,
                {
                    "HOME": str(home),
                    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
                    "AWS_SECRET_ACCESS_KEY": "x",
                },
            )
        return
    with living_authority(home) as living:
        administrator = living.administrator
        yield Aws(
            living.url,
            {
                "HOME": str(home),
                "AWS_ACCESS_KEY_ID": administrator.access_key_id,
                "AWS_SECRET_ACCESS_KEY": administrator.secret.reveal().decode(),
            },
        )


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return str(parts.hostname), int(parts.port or 0)


@pytest.fixture
def secret_id() -> str:
    return f"prod/{uuid.uuid4().hex}"


def fields(pair: AccessKeyPair) -> dict[str, object]:
    return {"AWS_ACCESS_KEY_ID": pair.access_key_id, "AWS_SECRET_ACCESS_KEY": pair.secret.reveal().decode()}


class TestSecretsManagerConformance(SinkConformance):
    @pytest.fixture
    def place(self, aws: Aws, secret_id: str) -> PlaceUnderTest:
        sink = aws.sink(secret_id)
        return PlaceUnderTest(
            sink, lambda pair: aws.put(secret_id, json.dumps(fields(pair))), lambda: sink.read().version
        )


def test_the_other_fields_of_the_value_are_kept(aws: Aws, secret_id: str) -> None:
    others = {"note": "größer", "n": 1.5, "big": 2**70, "deep": {"a": [1, None, True]}}
    aws.put(secret_id, json.dumps({**others, "id": "AKIAIOSFODNN7EXAMPLE", "key": "old"}))
    sink, pair = aws.sink(secret_id, id_field="id", secret_field="key"), new_pair()
    sink.write(pair, expect=sink.read(), context=new_context())
    value = aws.value(secret_id)
    assert json.loads(value) == {**others, "id": pair.access_key_id, "key": pair.secret.reveal().decode()}


def test_the_version_before_stays_at_hand_as_the_previous_one(aws: Aws, secret_id: str) -> None:
    old, new = new_pair(), new_pair()
    sink = aws.sink(secret_id)
    sink.write(old, expect=sink.read(), context=new_context())
    before = sink.read()
    sink.write(new, expect=before, context=new_context())
    stages = aws.versions(secret_id)
    assert before.version is not None
    assert "AWSPREVIOUS" in stages[before.version]
    assert sum("AWSCURRENT" in held for held in stages.values()) == 1


def test_a_write_that_was_cut_before_the_stage_moved_is_finished_by_its_repeat(
    aws: Aws, secret_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, context = new_pair(), new_pair(), new_context()
    aws.put(secret_id, json.dumps({**fields(old), "note": "kept"}))
    sink = aws.sink(secret_id)
    before = sink.read()
    real = AwsService.client

    class DiedError(BaseException):
        pass

    def dies_before_the_move(service: AwsService) -> Any:
        opened = real(service)
        client = opened.__enter__()

        def die(**_: object) -> None:
            raise DiedError

        monkeypatch.setattr(client, "update_secret_version_stage", die)

        class Held:
            def __enter__(self) -> Any:
                return client

            def __exit__(self, *_: object) -> None:
                client.close()

        return Held()

    with monkeypatch.context() as patch:
        patch.setattr(AwsService, "client", dies_before_the_move)
        with pytest.raises(DiedError):
            sink.write(new, expect=before, context=context)
    assert sink.read().pair == old
    versions = len(aws.versions(secret_id))
    aws.sink(secret_id).write(new, expect=before, context=context)
    assert sink.read().pair == new
    assert len(aws.versions(secret_id)) == versions


def test_a_stage_that_moved_between_reading_and_writing_stays_where_it_is(
    aws: Aws, secret_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, theirs = new_pair(), new_pair()
    aws.put(secret_id, json.dumps(fields(old)))
    sink = aws.sink(secret_id)
    before = sink.read()
    real = is_as_expected

    def and_then_they_write(*arguments: Any) -> bool:
        aws.put(secret_id, json.dumps(fields(theirs)))
        return real(*arguments)

    monkeypatch.setattr(secretsmanager, "is_as_expected", and_then_they_write)
    with pytest.raises(SinkChangedError):
        sink.write(new_pair(), expect=before, context=new_context())
    assert sink.read().pair == theirs


def test_a_change_of_another_field_since_the_snapshot_is_no_conflict(aws: Aws, secret_id: str) -> None:
    old, new = new_pair(), new_pair()
    aws.put(secret_id, json.dumps(fields(old)))
    sink = aws.sink(secret_id)
    before = sink.read()
    aws.put(secret_id, json.dumps({**fields(old), "note": "theirs"}))
    sink.write(new, expect=before, context=new_context())
    value = aws.value(secret_id)
    assert json.loads(value) == {**fields(new), "note": "theirs"}


def test_a_missing_secret_is_created_only_if_told_to(aws: Aws, secret_id: str) -> None:
    sink = aws.sink(secret_id, create=False)
    with pytest.raises(SinkRefusedError, match="`create` is not set"):
        sink.read()


@pytest.mark.parametrize(
    "value",
    ["not json", "[1]", '{"a": 1, "a": 2}', '{"a": 1e999}', '{"a": 0.1234567890123456789012}', "[" * 9000],
)
def test_a_value_that_could_not_be_kept_is_refused(aws: Aws, secret_id: str, value: str) -> None:
    aws.put(secret_id, value)
    with pytest.raises(SinkRefusedError, match="JSON object") as caught:
        aws.sink(secret_id).read()
    assert "not json" not in str(caught.value)


def test_testing_leaves_no_stage_behind(aws: Aws, secret_id: str) -> None:
    aws.put(secret_id, json.dumps(fields(new_pair())))
    current = aws.sink(secret_id).read().version
    aws.sink(secret_id).test()
    aws.sink(secret_id).test()
    stages = {stage for held in aws.versions(secret_id).values() for stage in held}
    assert aws.sink(secret_id).read().version == current
    assert "KEYTURNTEST" not in stages


def test_credentials_come_from_what_is_handed_in(aws: Aws, secret_id: str, tmp_path: Path) -> None:
    lines = [
        "[writer]",
        *(f"{name.lower()} = {aws.environment[name]}" for name in aws.environment if name != "HOME"),
    ]
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("\n".join(lines))
    around = replace(aws.around, environment={"HOME": str(tmp_path)})
    settings = {"secret_id": secret_id, "create": True}
    secretsmanager.TYPE.open("sm", {**settings, "profile": "writer"}, around).read()
    nobody = replace(around, environment={**around.environment, "AWS_PROFILE": "nobody"})
    with pytest.raises(SinkRefusedError, match="ProfileNotFound"):
        secretsmanager.TYPE.open("sm", settings, nobody).read()


def test_an_endpoint_that_is_gone_is_unavailable(secret_id: str) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "x"}
    gone = Aws("http://127.0.0.1:9", environment)
    with pytest.raises(SinkUnavailableError):
        gone.sink(secret_id).read()


def test_no_reader_sees_half_of_a_pair(aws: Aws, secret_id: str) -> None:
    seen = read_while_written(aws.sink(secret_id), aws.sink(secret_id), writes=5)
    assert seen.reads > 0
    assert seen.torn == 0


def test_an_endpoint_is_asked_over_https_only_unless_it_is_this_machine(secret_id: str) -> None:
    with pytest.raises(KeyturnError, match="must be https"):
        Aws("http://aws.example", {}).sink(secret_id)


@pytest.mark.parametrize("act", ["PutSecretValue", "UpdateSecretVersionStage"])
def test_an_answer_that_is_lost_leaves_one_new_version_and_the_new_pair(
    aws: Aws, secret_id: str, act: str
) -> None:
    old, new = new_pair(), new_pair()
    aws.put(secret_id, json.dumps(fields(old)))
    versions = len(aws.versions(secret_id))
    before = aws.sink(secret_id).read()
    with cutting_proxy(_place(aws.url), act.encode(), keep=lambda _reply: b"") as proxy:
        replace(aws, url=proxy.url).sink(secret_id).write(new, expect=before, context=new_context())
    assert len(proxy.cut_replies) == 1
    assert aws.sink(secret_id).read().pair == new
    assert len(aws.versions(secret_id)) == versions + 1
