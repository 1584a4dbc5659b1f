"""What a rotation sees of our own authority, through stock boto3."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
import pytest

from authority.cutting_proxy import cutting_proxy
from keyturn.aws_clients import Reach, is_aws_host
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccessKeyStatus
from keyturn.model.clock import SystemClock
from keyturn.model.secrets import Secret
from keyturn.rotation.endpoint import (
    EndpointRefusedError,
    EndpointTraits,
    EndpointUnavailableError,
    NeverSeen,
    NoSuchKeyError,
    NoSuchUserError,
    Proof,
    QuotaError,
    Unknown,
    Used,
)
from keyturn.rotation.iam_endpoint import IamEndpoint
from keyturn.rotation.simulation import ACTIONS
from keyturn.rotation.throttle import TokenBucket
from living_authority import REGION, LivingAuthority
from rotation.answering import Answer, Asked, answering, failure, result

Open = Callable[..., IamEndpoint]
UNKNOWN_KEY = AccessKeyId("AKIA" + "Z" * 16)


@pytest.fixture
def open_endpoint() -> Iterator[Open]:
    with ExitStack() as stack:

        def open_it(url: str | None, pair: AccessKeyPair | None = None) -> IamEndpoint:
            pair = pair or AccessKeyPair(AccessKeyId("AKIAIOSFODNN7EXAMPLE"), Secret(b"s" * 40))
            endpoint = IamEndpoint(Reach(url, region=REGION), clock=SystemClock(), pair=pair)
            stack.callback(endpoint.close)
            return endpoint

        yield open_it


@pytest.fixture
def ours(authority: LivingAuthority, open_endpoint: Open) -> IamEndpoint:
    """Our authority, as its administrator sees it."""
    signer = authority.administrator
    assert signer.access_key_id
    return open_endpoint(authority.url, AccessKeyPair(signer.access_key_id, signer.secret))


def new_pair(endpoint: IamEndpoint, user: str, rotation_id: str = "r1") -> AccessKeyPair:
    return endpoint.create(user, invocation_id=str(uuid4()), rotation_id=rotation_id)


def sts_of(authority: LivingAuthority, pair: AccessKeyPair, **config: object) -> object:
    return authority.sts(pair.access_key_id, pair.secret.reveal().decode(), **config)


def offset_when_dates_have_moved(endpoint: IamEndpoint) -> int:
    """The authority writes a new `Date` with its next tick."""
    return next(filter(None, (endpoint.clock_offset_ms() for _ in range(5_000))), 0)


def allow(authority: LivingAuthority, user: str, *actions: str, **more: object) -> None:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*", **more}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    authority.iam().put_user_policy(UserName=user, PolicyName=f"p-{uuid4()}", PolicyDocument=document)


def test_ours_says_what_it_promises(ours: IamEndpoint, authority: LivingAuthority) -> None:
    assert ours.url == authority.url
    assert ours.traits() == EndpointTraits(
        exact_revocation=True, reports_refused_attempts=True, idempotent_create=True
    )


def test_the_life_of_a_key(ours: IamEndpoint, authority: LivingAuthority) -> None:
    authority.iam().create_user(UserName="ana")
    assert list(ours.users()) == ["administrator", "ana"]
    assert ours.keys("ana") == []
    pair = new_pair(ours, "ana")
    (key,) = ours.keys("ana")
    assert (key.access_key_id, key.status) == (pair.access_key_id, AccessKeyStatus.ACTIVE)
    assert abs(key.created_at - ours.now_ms()) < 60_000
    assert ours.owner(pair.access_key_id) == "ana"
    assert ours.last_use(pair.access_key_id) == NeverSeen()
    assert ours.prove(pair) is Proof.ACCEPTED
    used = ours.last_use(pair.access_key_id)
    assert isinstance(used, Used)
    assert (used.service, used.region) == ("sts", REGION)
    ours.set_status("ana", pair.access_key_id, AccessKeyStatus.INACTIVE)
    ours.set_status("ana", pair.access_key_id, AccessKeyStatus.INACTIVE)
    assert ours.prove(pair) is Proof.REFUSED
    ours.delete("ana", pair.access_key_id)
    with pytest.raises(NoSuchKeyError):
        ours.delete("ana", pair.access_key_id)
    with pytest.raises(NoSuchKeyError):
        ours.set_status("ana", pair.access_key_id, AccessKeyStatus.ACTIVE)
    authority.iam().delete_user(UserName="ana")
    for act in (
        lambda: ours.keys("ana"),
        lambda: ours.delete("ana", pair.access_key_id),
        lambda: new_pair(ours, "ana"),
    ):
        with pytest.raises(NoSuchUserError):
            act()


def test_an_id_that_is_nobodys_has_no_owner_and_an_unknown_last_use(ours: IamEndpoint) -> None:
    assert ours.owner(UNKNOWN_KEY) is None
    assert isinstance(ours.last_use(UNKNOWN_KEY), Unknown)


def test_who_may_not_look_is_told_so_and_not_that_there_is_nobody(
    ours: IamEndpoint, authority: LivingAuthority, open_endpoint: Open
) -> None:
    authority.iam().create_user(UserName="eve")
    eve = open_endpoint(authority.url, new_pair(ours, "eve"))
    administrator = authority.administrator.access_key_id
    assert administrator
    with pytest.raises(EndpointRefusedError):
        eve.owner(administrator)
    assert isinstance(eve.last_use(administrator), Unknown)
    with pytest.raises(EndpointRefusedError):
        new_pair(eve, "eve")


def test_a_repeat_with_the_same_invocation_gets_the_same_key(
    ours: IamEndpoint, authority: LivingAuthority
) -> None:
    authority.iam().create_user(UserName="ana")
    once = ours.create("ana", invocation_id="intent-1", rotation_id="r1")
    again = ours.create("ana", invocation_id="intent-1", rotation_id="r1")
    assert again == once
    other = ours.create("ana", invocation_id="intent-2", rotation_id="r1")
    assert other != once
    with pytest.raises(QuotaError):
        ours.create("ana", invocation_id="intent-3", rotation_id="r1")


def test_a_key_says_which_rotation_made_it(ours: IamEndpoint, authority: LivingAuthority) -> None:
    rotation_id = "r" * 64
    _, _ = authority.new_user_with_key("ana")
    (by_hand,) = ours.keys("ana")
    pair = new_pair(ours, "ana", rotation_id)
    assert ours.created_by(pair.access_key_id, "ana") == rotation_id
    assert ours.created_by(by_hand.access_key_id, "ana") == ""
    assert ours.created_by(UNKNOWN_KEY, "ana") is None
    (seen,) = ours.rotations_seen(since=0) or ()
    assert (seen.rotation_id, seen.source) == (rotation_id, "127.0.0.1")


def test_no_other_call_is_signed_off_as_a_rotations(ours: IamEndpoint, authority: LivingAuthority) -> None:
    authority.iam().create_user(UserName="ana")
    new_pair(ours, "ana")
    ours.keys("ana")
    authority.keep_house()
    signer = authority.administrator.access_key_id
    assert signer
    by_action = {each.action: each.agent for each in ours.consumers(signer, since=0) or ()}
    assert by_action["CreateAccessKey"].endswith(" keyturn-rotation/r1")
    assert "keyturn-rotation" not in by_action["ListAccessKeys"]


def test_who_uses_a_key_is_told_with_how_often_and_who_was_refused(
    ours: IamEndpoint, authority: LivingAuthority
) -> None:
    authority.iam().create_user(UserName="ana")
    pair = new_pair(ours, "ana")
    job = sts_of(authority, pair, user_agent_extra="nightly")
    for _ in range(3):
        job.get_caller_identity()  # type: ignore[attr-defined]  # a client
    ours.set_status("ana", pair.access_key_id, AccessKeyStatus.INACTIVE)
    authority.clock.advance(seconds=2)
    ours.prove(pair)
    authority.keep_house()
    refused, used = ours.consumers(pair.access_key_id, since=0) or ()
    assert (used.source, used.service, used.action, used.count) == (
        "127.0.0.1",
        "sts",
        "GetCallerIdentity",
        3,
    )
    assert used.agent.endswith("nightly")
    assert (used.is_refused, refused.is_refused, refused.count) == (False, True, 1)
    assert refused.last_at > used.last_at
    assert ours.consumers(pair.access_key_id, since=refused.last_at + 1000) == []


def test_a_change_is_not_counted_twice(ours: IamEndpoint, authority: LivingAuthority) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    allow(authority, "ana", "iam:CreateUser")
    authority.iam(access_key_id, secret).create_user(UserName="bob")
    authority.keep_house()
    (made,) = ours.consumers(AccessKeyId(access_key_id), since=0) or ()
    assert (made.service, made.action, made.count) == ("iam", "CreateUser", 1)


def test_live_sessions_of_a_key_are_found_and_those_that_they_obtained(
    ours: IamEndpoint, authority: LivingAuthority
) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    key = AccessKeyId(access_key_id)
    assert ours.sessions(key) == []
    account = ours.identity().account_id
    allow(authority, "ana", "sts:*")
    trust = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}
    role = authority.iam().create_role(
        RoleName="deploy",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )["Role"]["Arn"]
    authority.iam().put_role_policy(
        RoleName="deploy",
        PolicyName="chain",
        PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:*", "Resource": "*"}]}
        ),
    )
    sts = authority.sts(access_key_id, secret)
    first = sts.assume_role(RoleArn=role, RoleSessionName="first", DurationSeconds=900)["Credentials"]
    sts.get_federation_token(Name="fay", DurationSeconds=900)
    chained = boto3.client(
        "sts",
        endpoint_url=authority.url,
        region_name=REGION,
        aws_access_key_id=first["AccessKeyId"],
        aws_secret_access_key=first["SecretAccessKey"],
        aws_session_token=first["SessionToken"],
    )
    chained.assume_role(RoleArn=role, RoleSessionName="second", DurationSeconds=3600)
    chained.close()
    live = {each.arn.rpartition("/")[2]: each for each in ours.sessions(key) or ()}
    assert live.keys() == {"first", "second", "fay"}
    assert abs(live["second"].expires_at - ours.now_ms() - 3_600_000) < 60_000
    authority.clock.advance(seconds=901)
    assert 898_000 < offset_when_dates_have_moved(ours) < 904_000, "though nothing that is signed passes"
    with pytest.raises(EndpointRefusedError):
        ours.identity()
    assert ours.sessions(key) is None


def test_a_session_that_was_revoked_on_its_role_is_not_waited_for(
    ours: IamEndpoint, authority: LivingAuthority
) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    allow(authority, "ana", "sts:*")
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": ours.identity().account_id},
        "Action": "sts:AssumeRole",
    }
    role = authority.iam().create_role(
        RoleName="deploy",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )["Role"]["Arn"]
    sts = authority.sts(access_key_id, secret)

    def live() -> set[str]:
        return {each.arn.rpartition("/")[2] for each in ours.sessions(AccessKeyId(access_key_id)) or ()}

    sts.assume_role(RoleArn=role, RoleSessionName="before", DurationSeconds=900)
    authority.clock.advance(seconds=10)
    cut = datetime.fromtimestamp(authority.clock.now_ms() // 1000, UTC).isoformat()
    authority.clock.advance(seconds=10)
    sts.assume_role(RoleArn=role, RoleSessionName="after", DurationSeconds=900)
    assert live() == {"before", "after"}
    deny = {
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": cut}},
    }
    authority.iam().put_role_policy(
        RoleName="deploy",
        PolicyName="AWSRevokeOlderSessions",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [deny]}),
    )
    assert live() == {"after"}


def test_the_time_is_the_endpoints(ours: IamEndpoint, authority: LivingAuthority) -> None:
    assert ours.clock_offset_ms() == 0
    authority.clock.advance(seconds=100)
    assert 98_000 < offset_when_dates_have_moved(ours) < 102_000
    assert abs(ours.now_ms() - authority.clock.now_ms()) < 2_000


def test_who_signs_is_told(ours: IamEndpoint, authority: LivingAuthority) -> None:
    identity = ours.identity()
    assert identity.arn == f"arn:aws:iam::{identity.account_id}:user/administrator"
    assert identity.access_key_id == authority.administrator.access_key_id


def test_permissions_are_known_without_doing_it(
    ours: IamEndpoint, authority: LivingAuthority, open_endpoint: Open
) -> None:
    assert {each.action: each.is_allowed for each in ours.permissions("administrator")} == dict.fromkeys(
        ACTIONS, True
    )
    authority.iam().create_user(UserName="rotator")
    authority.iam().create_user(UserName="ana")
    new_pair(ours, "ana")
    rotator = open_endpoint(authority.url, new_pair(ours, "rotator"))
    assert {each.is_allowed for each in rotator.permissions("ana") if "List" in each.action} == {False}
    allow(authority, "rotator", "iam:List*", "iam:Get*", "iam:CreateAccessKey")
    told = {each.action.removeprefix("iam:"): each.is_allowed for each in rotator.permissions("ana")}
    assert told == {
        "CreateAccessKey": None,
        "UpdateAccessKey": None,
        "DeleteAccessKey": None,
        "ListAccessKeys": True,
        "GetAccessKeyLastUsed": True,
    }
    allow(authority, "rotator", "iam:Simulate*")
    told = {each.action.removeprefix("iam:"): each.is_allowed for each in rotator.permissions("ana")}
    assert told == {
        "CreateAccessKey": True,
        "UpdateAccessKey": False,
        "DeleteAccessKey": False,
        "ListAccessKeys": True,
        "GetAccessKeyLastUsed": True,
    }


def test_a_policy_that_wants_a_second_factor_is_no_permission_for_a_long_lived_key(
    ours: IamEndpoint, authority: LivingAuthority, open_endpoint: Open
) -> None:
    authority.iam().create_user(UserName="rotator")
    rotator = open_endpoint(authority.url, new_pair(ours, "rotator"))
    allow(authority, "rotator", "iam:Simulate*", "iam:ListAccessKeys", "iam:GetUser")
    allow(
        authority,
        "rotator",
        "iam:*AccessKey",
        Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}},
    )
    told = {each.action: each.is_allowed for each in rotator.permissions("rotator")}
    assert told["iam:CreateAccessKey"] is False
    assert told["iam:ListAccessKeys"] is True


@pytest.mark.parametrize("name", ["AWSCompromisedKeyQuarantineV3", "KeyturnQuarantine-7"])
def test_a_quarantined_user_is_under_an_incident(
    ours: IamEndpoint, authority: LivingAuthority, name: str
) -> None:
    authority.iam().create_user(UserName="ana")
    assert ours.is_under_incident("ana") is False
    document = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
    )
    if name.startswith("AWS"):
        arn = authority.iam().create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"]
        authority.iam().attach_user_policy(UserName="ana", PolicyArn=arn)
    else:
        authority.iam().put_user_policy(UserName="ana", PolicyName=name, PolicyDocument=document)
    assert ours.is_under_incident("ana") is True
    assert ours.is_under_incident("nobody") is None


# Bad days


def throttled(_asked: Asked) -> Answer:
    return failure(400, "Throttling", "Rate exceeded")


def test_a_throttle_is_unknown_and_never_unused(open_endpoint: Open) -> None:
    with answering(throttled) as endpoint:
        foreign = open_endpoint(endpoint.url)
        unknown = foreign.last_use(UNKNOWN_KEY)
        assert isinstance(unknown, Unknown)
        assert "Throttling" in unknown.why
        for act in (
            lambda: foreign.keys("ana"),
            foreign.users,
            lambda: foreign.delete("ana", UNKNOWN_KEY),
            lambda: foreign.set_status("ana", UNKNOWN_KEY, AccessKeyStatus.INACTIVE),
            lambda: new_pair(foreign, "ana"),
            lambda: foreign.owner(UNKNOWN_KEY),
            foreign.identity,
        ):
            with pytest.raises(EndpointUnavailableError):
                act()
        pair = AccessKeyPair(UNKNOWN_KEY, Secret(b"s" * 40))
        assert foreign.prove(pair) is Proof.UNKNOWN
        assert foreign.consumers(UNKNOWN_KEY, since=0) is None
        assert foreign.sessions(UNKNOWN_KEY) is None
        assert foreign.created_by(UNKNOWN_KEY, "ana") is None
        assert foreign.is_under_incident("ana") is None
        assert {each.is_allowed for each in foreign.permissions("ana")} == {None}


def test_row_13_an_account_that_throttles_every_third_call_slows_all_and_misleads_none(
    open_endpoint: Open,
) -> None:
    used = (
        "<UserName>ana</UserName><AccessKeyLastUsed><LastUsedDate>2026-01-01T00:00:00Z</LastUsedDate>"
        "<ServiceName>s3</ServiceName><Region>eu-west-1</Region></AccessKeyLastUsed>"
    )
    calls = count()

    def sometimes(_asked: Asked) -> Answer:
        if next(calls) % 3 == 0:
            return failure(400, "Throttling", "Rate exceeded")
        return result("GetAccessKeyLastUsed", used)

    waited: list[float] = []
    with answering(sometimes) as endpoint:
        foreign = open_endpoint(endpoint.url)
        bucket = TokenBucket(SystemClock(), 1_000.0, 10, waited.append)
        foreign.pace(bucket, None)
        with ThreadPoolExecutor(8) as pool:
            told = list(pool.map(foreign.last_use, [UNKNOWN_KEY] * 60))
        assert all(isinstance(each, Used | Unknown) for each in told)
        assert sum(isinstance(each, Used) for each in told) > 40
        assert len(endpoint.asked) > 80
        assert waited
        assert bucket.rate < 1_000


def test_an_endpoint_for_which_too_many_wait_is_not_asked(open_endpoint: Open) -> None:
    with answering(throttled) as endpoint:
        foreign = open_endpoint(endpoint.url)
        bucket = TokenBucket(SystemClock(), 0.001, 1, lambda _seconds: None)
        bucket.take(at_most_seconds=0)
        foreign.pace(bucket, bucket)
        assert isinstance(foreign.last_use(UNKNOWN_KEY), Unknown)
        with pytest.raises(EndpointUnavailableError, match="too many others wait"):
            new_pair(foreign, "ana")
        assert endpoint.asked == []


def test_creating_is_asked_once_and_reading_again(open_endpoint: Open) -> None:
    with answering(lambda _asked: failure(503, "ServiceUnavailable")) as endpoint:
        foreign = open_endpoint(endpoint.url)
        with pytest.raises(EndpointUnavailableError):
            new_pair(foreign, "ana")
        assert endpoint.actions() == ["CreateAccessKey"]
        with pytest.raises(EndpointUnavailableError):
            foreign.keys("ana")
        assert endpoint.actions() == ["CreateAccessKey", *["ListAccessKeys"] * 3]


def test_a_reply_that_is_cut_short_leaves_no_secret_in_the_error(open_endpoint: Open) -> None:
    secret = "C" * 40
    whole = result(
        "CreateAccessKey",
        f"<AccessKey><UserName>ana</UserName><AccessKeyId>{UNKNOWN_KEY}</AccessKeyId><Status>Active</Status>"
        f"<SecretAccessKey>{secret}</SecretAccessKey></AccessKey>",
    ).body
    for kept in (len(whole) - 30, len(whole) - 1, whole.index(b"<SecretAccessKey>")):
        with answering(lambda _asked, kept=kept: Answer(200, whole[:kept])) as endpoint:  # type: ignore[misc]  # mypy can't infer lambdas with defaults
            with pytest.raises(EndpointUnavailableError) as caught:
                new_pair(open_endpoint(endpoint.url), "ana")
            told: BaseException | None = caught.value
            while told is not None:
                assert secret not in str(told)
                told = told.__cause__ or told.__context__


CUTS: dict[str, Callable[[bytes], bytes]] = {
    "no byte": lambda _reply: b"",
    "the head": lambda reply: reply[: reply.index(b"\r\n\r\n") + 4],
    "half of the secret": lambda reply: reply[: reply.index(b"<SecretAccessKey>") + 37],
    "all but the end": lambda reply: reply[:-5],
}


@pytest.mark.parametrize("arrives", list(CUTS))
def test_row_2_a_cut_reply_is_not_known_and_asking_again_gets_the_same_key(
    authority: LivingAuthority, open_endpoint: Open, arrives: str
) -> None:
    authority.iam().create_user(UserName="ana")
    signer = authority.administrator
    assert signer.access_key_id
    url = urlsplit(authority.url)
    assert url.hostname
    assert url.port
    with cutting_proxy((url.hostname, url.port), b"Action=CreateAccessKey", CUTS[arrives]) as proxy:
        behind = open_endpoint(proxy.url, AccessKeyPair(signer.access_key_id, signer.secret))
        with pytest.raises(EndpointUnavailableError) as caught:
            behind.create("ana", invocation_id="intent", rotation_id="r1")
        assert proxy.seen == 1, "one attempt, and no more"
        (made,) = behind.keys("ana")
        pair = behind.create("ana", invocation_id="intent", rotation_id="r1")
        assert pair.access_key_id == made.access_key_id
        assert pair.secret.reveal().decode()[:20] not in str(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None
        assert behind.prove(pair) is Proof.ACCEPTED


def test_a_refusal_quotes_only_its_first_line(open_endpoint: Open) -> None:
    message = "The signature does not match.\n\nThe Canonical String was x-amz-security-token:TOKEN"
    with answering(lambda _asked: failure(403, "SignatureDoesNotMatch", message)) as endpoint:
        with pytest.raises(EndpointRefusedError) as caught:
            open_endpoint(endpoint.url).users()
        assert "does not match" in str(caught.value)
        assert "TOKEN" not in str(caught.value)


def test_a_proxy_that_refuses_says_nothing_of_the_pair(open_endpoint: Open) -> None:
    pair = AccessKeyPair(UNKNOWN_KEY, Secret(b"s" * 40))
    for answer, proof in (
        (Answer(403, b"<html>Forbidden</html>"), Proof.UNKNOWN),
        (failure(403, "InvalidClientTokenId"), Proof.REFUSED),
        (failure(500, "InternalFailure"), Proof.UNKNOWN),
    ):
        with answering(lambda _asked, answer=answer: answer) as endpoint:  # type: ignore[misc]  # mypy can't infer lambdas with defaults
            assert open_endpoint(endpoint.url).prove(pair) is proof


def test_nobody_listening_is_no_answer(open_endpoint: Open) -> None:
    with answering(throttled) as endpoint:
        url = endpoint.url
    gone = open_endpoint(url)
    assert gone.traits() == EndpointTraits()
    assert isinstance(gone.last_use(UNKNOWN_KEY), Unknown)
    with pytest.raises(EndpointUnavailableError):
        gone.clock_offset_ms()


def test_a_word_that_is_no_url_is_said_to_be_none(open_endpoint: Open) -> None:
    with pytest.raises(EndpointRefusedError, match="not a URL"):
        open_endpoint("keys.example").users()


@pytest.mark.parametrize(
    "about",
    [
        Answer(404),
        Answer(200, b"[1]"),
        Answer(200, b"not json"),
        Answer(200, b"[" * 10_000),
        Answer(200, b'{"exact_revocation": true, "pad": "' + b"x" * 20_000 + b'"}'),
        Answer(200, b'{"exact_revocation": "yes", "idempotent_create": 1}'),
        Answer(302, headers={"Location": "http://192.0.2.1/-/about"}),
    ],
)
def test_what_is_no_promise_is_taken_for_none(open_endpoint: Open, about: Answer) -> None:
    with answering(lambda _asked: about) as endpoint:
        foreign = open_endpoint(endpoint.url)
        assert foreign.traits() == EndpointTraits()
        assert foreign.traits() == EndpointTraits()
        (asked,) = endpoint.asked
        assert (asked.method, asked.path) == ("GET", "/-/about")
        assert "authorization" not in asked.headers


def test_an_endpoint_that_comes_back_is_asked_again_for_its_promises(open_endpoint: Open) -> None:
    answers = [Answer(503), Answer(200, b'{"exact_revocation": true}')]
    with answering(lambda _asked: answers.pop(0)) as endpoint:
        foreign = open_endpoint(endpoint.url)
        assert [foreign.traits().exact_revocation for _ in range(3)] == [False, True, True]


@pytest.mark.parametrize(
    ("url", "is_aws"),
    [
        ("https://iam.amazonaws.com", True),
        ("https://iam.cn-north-1.amazonaws.com.cn/", True),
        ("https://STS.eu-west-1.AMAZONAWS.COM.", True),
        ("https://sts.eu-west-1.api.aws", True),
        ("https://amazonaws.com.keys.example", False),
        ("https://notamazonaws.com", False),
        ("http://127.0.0.1:4590", False),
    ],
)
def test_amazon_is_known_by_its_names(url: str, *, is_aws: bool) -> None:
    assert is_aws_host(url) is is_aws


def test_amazon_is_never_asked_what_it_promises(open_endpoint: Open) -> None:
    """Loopback only is open to tests: a question would fail."""
    amazon = open_endpoint(None)
    assert amazon.url is None
    assert amazon.traits() == EndpointTraits()
    assert amazon._traits == EndpointTraits(), "an answer of its own, not a failure"
