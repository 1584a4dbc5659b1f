"""`POST /-/verify` over the wire: who may ask, what is answered, and what nobody can make it say."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from living_authority import LivingAuthority, living_authority

REGION = "eu-west-1"
Described = dict[str, Any]


def policy(action: str, resource: str = "*", effect: str = "Allow", **more: Any) -> str:
    statement = {"Effect": effect, "Action": action, "Resource": resource, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingAuthority]:
    home = tmp_path_factory.mktemp("home")
    with living_authority(home, services="iam,sts,orders,billing,s3") as authority:
        yield authority


def new_user(living: LivingAuthority, name: str, *policies: str) -> Credentials:
    access_key_id, secret = living.new_user_with_key(name)
    for number, document in enumerate(policies):
        living.iam().put_user_policy(UserName=name, PolicyName=f"p{number}", PolicyDocument=document)
    return Credentials(access_key_id, secret)


@pytest.fixture(scope="module")
def service(living: LivingAuthority) -> Credentials:
    """Who asks."""
    return new_user(living, "orders-service", policy("keyturn:Verify"))


@pytest.fixture(scope="module")
def alice(living: LivingAuthority) -> Credentials:
    """Who is asked about."""
    living.iam().create_user(UserName="alice", Tags=[{"Key": "team", "Value": "sales"}])
    key = living.iam().create_access_key(UserName="alice")["AccessKey"]
    document = policy("execute-api:Invoke", "arn:aws:execute-api:*:*:orders/*/GET/orders*")
    living.iam().put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=document)
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


def described(
    signer: Credentials,
    method: str = "GET",
    target: str = "/orders",
    body: bytes = b"",
    service: str = "orders",
    headers: dict[str, str] | None = None,
) -> Described:
    """A signed request, as the service that received it would describe it."""
    request = AWSRequest(method, f"https://orders.example{target}", headers or {}, body)
    SigV4Auth(signer, service, REGION).add_auth(request)
    return {
        "service": service,
        "method": method,
        "target": target,
        "headers": [
            ["host", "orders.example"],
            *([name.lower(), value] for name, value in request.headers.items()),
        ],
        "body_sha256": hashlib.sha256(body).hexdigest(),
        "source_address": "192.0.2.7",
    }


def send(
    living: LivingAuthority, body: bytes, headers: dict[str, str], path: str = "/-/verify"
) -> tuple[int, Any, dict[str, str]]:
    parts = urlsplit(living.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content else None, dict(response.headers)
    finally:
        connection.close()


def ask_raw(
    living: LivingAuthority, asking: Credentials, body: bytes, scope: str = "keyturn"
) -> tuple[int, Any, dict[str, str]]:
    request = AWSRequest("POST", living.url + "/-/verify", {"content-type": "application/json"}, body)
    SigV4Auth(asking, scope, REGION).add_auth(request)
    return send(living, body, dict(request.headers.items()))


def ask(living: LivingAuthority, asking: Credentials, question: Described) -> Any:
    status, answer, headers = ask_raw(living, asking, json.dumps(question).encode())
    assert status == 200, answer
    assert headers["cache-control"] == "no-store"
    return answer


def refused(living: LivingAuthority, asking: Credentials, question: Described) -> tuple[int, str]:
    """Of a question that was not answered."""
    status, answer, headers = ask_raw(living, asking, json.dumps(question).encode())
    assert headers["cache-control"] == "no-store"
    assert set(answer) == {"code", "message"}
    return status, answer["code"]


def replaced(question: Described, name: str, value: str) -> Described:
    headers = [[each, value if each == name else old] for each, old in question["headers"]]
    return {**question, "headers": headers}


# Answers


def test_the_answer_says_who_signed_and_whether_they_may(
    living: LivingAuthority, service: Credentials, alice: Credentials
) -> None:
    answer = ask(living, service, described(alice, target="/orders/7?full=1"))
    account = living.opened.instance.account_id
    assert answer["verified"] is True
    assert answer["arn"] == f"arn:aws:iam::{account}:user/alice"
    assert answer["account"] == account
    assert answer["access_key_id"] == alice.access_key
    assert answer["user_id"].startswith("AIDA")
    assert answer["service"] == "orders"
    assert answer["principal_tags"] == {"team": "sales"}
    assert answer["mfa_present"] is None
    assert answer["session"] is None
    assert answer["signed_headers"] == ["host", "x-amz-date"]
    assert answer["decision"] == {
        "allowed": True,
        "reason": "The identity-based policy allows it.",
        "action": "execute-api:Invoke",
        "resource": f"arn:aws:execute-api:{REGION}:{account}:orders/*/GET/orders/7",
    }


def test_a_denial_is_worded_as_aws_words_it(
    living: LivingAuthority, service: Credentials, alice: Credentials
) -> None:
    answer = ask(living, service, described(alice, "POST", body=b"{}"))
    assert answer["verified"] is True
    assert answer["decision"]["allowed"] is False
    assert answer["decision"]["reason"].startswith(f"User: {answer['arn']} is not authorized to perform: ")
    assert answer["decision"]["reason"].endswith(
        "because no identity-based policy allows the execute-api:Invoke action"
    )


def test_no_answer_holds_a_secret_a_signature_or_a_token(
    living: LivingAuthority, service: Credentials, alice: Credentials
) -> None:
    sts = living.sts(alice.access_key, alice.secret_key)
    temporary = sts.get_session_token()["Credentials"]
    session = Credentials(temporary["AccessKeyId"], temporary["SecretAccessKey"], temporary["SessionToken"])
    for signer in (alice, session):
        question = described(signer)
        text = json.dumps(ask(living, service, question))
        authorization = dict(question["headers"])["authorization"]
        for secret in (signer.secret_key, signer.token, authorization.rpartition("Signature=")[2]):
            assert not secret or secret not in text


def test_a_session_is_told_with_its_context(living: LivingAuthority, service: Credentials) -> None:
    account = living.opened.instance.account_id
    caller = new_user(living, "role-taker", policy("sts:*"))
    trust = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow",
                "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
                "Principal": {"AWS": f"arn:aws:iam::{account}:user/role-taker"},
            },
        }
    )
    living.iam().create_role(RoleName="reader", AssumeRolePolicyDocument=trust)
    living.iam().put_role_policy(
        RoleName="reader", PolicyName="p", PolicyDocument=policy("execute-api:Invoke")
    )
    assumed = living.sts(caller.access_key, caller.secret_key).assume_role(
        RoleArn=f"arn:aws:iam::{account}:role/reader",
        RoleSessionName="night",
        SourceIdentity="bob",
        Tags=[{"Key": "shift", "Value": "late"}],
        Policy=policy("execute-api:Invoke", "arn:aws:execute-api:*:*:orders/*/GET/*"),
    )["Credentials"]
    session = Credentials(assumed["AccessKeyId"], assumed["SecretAccessKey"], assumed["SessionToken"])
    answer = ask(living, service, described(session))
    assert answer["arn"] == f"arn:aws:sts::{account}:assumed-role/reader/night"
    assert answer["principal_type"] == "AssumedRole"
    assert answer["principal_tags"] == {"shift": "late"}
    assert answer["mfa_present"] is False
    assert answer["session"]["kind"] == "role"
    assert answer["session"]["source_identity"] == "bob"
    assert answer["decision"]["allowed"] is True
    denied = ask(living, service, described(session, "DELETE"))["decision"]
    assert denied["allowed"] is False
    assert "no session policy allows" in denied["reason"]


def test_a_service_may_name_action_and_resource_itself(living: LivingAuthority, service: Credentials) -> None:
    shelf = "arn:aws:orders:::shelf/books"
    carol = new_user(
        living, "carol", policy("orders:Take", shelf), policy("orders:Take", shelf + "/rare", "Deny")
    )
    question = described(carol) | {"action": "orders:Take"}
    assert ask(living, service, question | {"resource": shelf})["decision"]["allowed"] is True
    assert ask(living, service, question | {"resource": shelf + "/rare"})["decision"]["allowed"] is False
    assert ask(living, service, question)["decision"]["allowed"] is False, (
        "only a statement about * covers that"
    )
    assert (
        ask(living, service, question | {"action": "orders:Burn", "resource": shelf})["decision"]["allowed"]
        is False
    )


def test_a_stage_and_a_connection_are_what_the_service_says(
    living: LivingAuthority, service: Credentials
) -> None:
    secure = {"Bool": {"aws:SecureTransport": "true"}}
    resource = "arn:aws:execute-api:*:*:orders/prod/GET/*"
    leo = new_user(living, "leo", policy("execute-api:Invoke", resource, Condition=secure))
    question = described(leo)
    told = question | {"stage": "prod", "secure": True}
    assert ask(living, service, told)["decision"]["allowed"] is True
    for less in (question, told | {"stage": "test"}, told | {"secure": False}):
        assert ask(living, service, less)["decision"]["allowed"] is False


def test_a_boundary_bounds_what_a_service_lets_through(living: LivingAuthority, service: Credentials) -> None:
    dora = new_user(living, "dora", policy("execute-api:Invoke"))
    assert ask(living, service, described(dora))["decision"]["allowed"] is True
    boundary = living.iam().create_policy(PolicyName="nothing-here", PolicyDocument=policy("s3:*"))
    living.iam().put_user_permissions_boundary(UserName="dora", PermissionsBoundary=boundary["Policy"]["Arn"])
    decision = ask(living, service, described(dora))["decision"]
    assert decision["allowed"] is False
    assert "no permissions boundary allows" in decision["reason"]


def test_conditions_see_the_end_callers_address(living: LivingAuthority, service: Credentials) -> None:
    condition = {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}
    erin = new_user(living, "erin", policy("execute-api:Invoke", Condition=condition))
    question = described(erin)
    assert ask(living, service, question)["decision"]["allowed"] is True
    assert ask(living, service, question | {"source_address": "198.51.100.1"})["decision"]["allowed"] is False
    del question["source_address"]
    assert ask(living, service, question)["decision"]["allowed"] is False, "what is not told matches nothing"


def test_use_is_booked_for_the_end_caller_under_the_services_name(
    living: LivingAuthority, service: Credentials
) -> None:
    frank = new_user(living, "frank", policy("execute-api:Invoke"))
    ask(living, service, described(frank, headers={"User-Agent": "orders-client/3"}))
    used = living.iam().get_access_key_last_used(AccessKeyId=frank.access_key)["AccessKeyLastUsed"]
    assert (used["ServiceName"], used["Region"]) == ("orders", REGION)
    of_service = living.iam().get_access_key_last_used(AccessKeyId=service.access_key)["AccessKeyLastUsed"]
    assert of_service["ServiceName"] == "keyturn"
    living.keep_house()
    (row,) = living.call(lambda: living.opened.authority.services.usage.usage_of(frank.access_key))  # type: ignore[arg-type]  # an id as botocore has it
    assert (row.key.outcome, row.key.source, row.key.user_agent) == ("used", "192.0.2.7", "orders-client/3")
    assert (row.key.service, row.key.action, row.count) == ("orders", "Invoke", 1)


def test_a_deactivated_key_is_refused_at_once_and_noted(
    living: LivingAuthority, service: Credentials
) -> None:
    grace = new_user(living, "grace", policy("execute-api:Invoke"))
    question = described(grace)
    assert ask(living, service, question)["verified"] is True
    living.iam().update_access_key(UserName="grace", AccessKeyId=grace.access_key, Status="Inactive")
    answer = ask(living, service, question)
    assert (answer["verified"], answer["code"], answer["status"]) == (False, "InvalidClientTokenId", 403)
    assert "arn" not in answer
    living.keep_house()
    rows = living.call(lambda: living.opened.authority.services.usage.usage_of(grace.access_key))  # type: ignore[arg-type]  # as above
    assert [(row.key.service, row.key.action) for row in rows if row.key.outcome == "refused"] == [
        ("orders", "Invoke")
    ]


def test_a_change_of_policy_is_seen_by_the_next_question(
    living: LivingAuthority, service: Credentials
) -> None:
    heidi = new_user(living, "heidi", policy("execute-api:Invoke"))
    question = described(heidi)
    assert ask(living, service, question)["decision"]["allowed"] is True
    living.iam().delete_user_policy(UserName="heidi", PolicyName="p0")
    assert ask(living, service, question)["decision"]["allowed"] is False


def test_a_person_without_a_second_factor_is_not_let_through(
    living: LivingAuthority, service: Credentials
) -> None:
    kim = new_user(living, "kim", policy("*"))
    assert ask(living, service, described(kim))["decision"]["allowed"] is True
    living.iam().create_login_profile(UserName="kim", Password="a-Long-passw0rd!")
    answer = ask(living, service, described(kim))
    assert (answer["verified"], answer["decision"]["allowed"]) == (True, False)
    assert "with an explicit deny in a service control policy" in answer["decision"]["reason"]


# Who may ask


def test_a_captured_signature_is_of_no_use_to_somebody_without_the_permission(
    living: LivingAuthority, alice: Credentials
) -> None:
    mallory = new_user(living, "mallory", policy("execute-api:*"), policy("iam:Get*"))
    captured = described(alice)
    assert refused(living, mallory, captured) == (403, "AccessDenied")
    assert refused(living, alice, captured) == (403, "AccessDenied")


def test_a_captured_signature_does_not_open_the_door_itself(
    living: LivingAuthority, alice: Credentials
) -> None:
    captured = described(alice)
    status, answer, headers = send(
        living,
        json.dumps(captured).encode(),
        {name: value for name, value in captured["headers"] if name != "host"},
    )
    assert status == 403
    assert answer["code"] == "SignatureDoesNotMatch"
    assert headers["cache-control"] == "no-store"


def test_the_permission_can_be_held_for_one_service(living: LivingAuthority, alice: Credentials) -> None:
    asking = new_user(living, "one-service", policy("keyturn:Verify", "arn:aws:keyturn:*:*:service/orders"))
    assert ask(living, asking, described(alice))["verified"] is True
    assert refused(living, asking, described(alice, service="billing")) == (403, "AccessDenied")


def test_nobody_asks_without_a_signature_or_with_that_of_another_service(
    living: LivingAuthority, service: Credentials, alice: Credentials
) -> None:
    body = json.dumps(described(alice)).encode()
    status, answer, _ = send(living, body, {})
    assert (status, answer["code"]) == (403, "MissingAuthenticationToken")
    for scope in ("sts", "iam", "orders", "execute-api"):
        status, answer, _ = ask_raw(living, service, body, scope)
        assert (status, answer["code"]) == (403, "SignatureDoesNotMatch")


def test_the_scope_of_the_door_opens_nothing_else(living: LivingAuthority, service: Credentials) -> None:
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    request = AWSRequest("POST", living.url + "/", {}, body)
    SigV4Auth(service, "keyturn", REGION).add_auth(request)
    parts = urlsplit(living.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    connection.request("POST", "/", body, dict(request.headers.items()))
    assert connection.getresponse().status == 403
    connection.close()


def test_an_own_services_scope_opens_nothing_here(living: LivingAuthority, alice: Credentials) -> None:
    request = AWSRequest("POST", living.url + "/", {}, b"Action=GetCallerIdentity&Version=2011-06-15")
    SigV4Auth(alice, "orders", REGION).add_auth(request)
    parts = urlsplit(living.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    connection.request("POST", "/", request.data, dict(request.headers.items()))
    response = connection.getresponse()
    assert response.status == 403
    assert b"SignatureDoesNotMatch" in response.read()
    connection.close()


def test_the_body_of_the_question_is_what_its_caller_signed(
    living: LivingAuthority, service: Credentials, alice: Credentials
) -> None:
    body = json.dumps(described(alice)).encode()
    request = AWSRequest("POST", living.url + "/-/verify", {}, body)
    SigV4Auth(service, "keyturn", REGION).add_auth(request)
    status, answer, _ = send(living, body + b" ", dict(request.headers.items()))
    assert (status, answer["code"]) == (403, "SignatureDoesNotMatch")


def test_the_door_has_no_query_and_so_no_presigned_form(
    living: LivingAuthority, service: Credentials, alice: Credentials
) -> None:
    request = AWSRequest("POST", living.url + "/-/verify", {}, b"")
    SigV4QueryAuth(service, "keyturn", REGION).add_auth(request)
    parts = urlsplit(str(request.url))
    status, answer, _ = send(living, json.dumps(described(alice)).encode(), {}, f"{parts.path}?{parts.query}")
    assert (status, answer["code"]) == (400, "ValidationError")


def test_only_a_post_asks(living: LivingAuthority) -> None:
    parts = urlsplit(living.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    connection.request("PUT", "/-/verify", b"{}")
    assert connection.getresponse().status == 405
    connection.close()


# Requests that somebody changed


def changes(question: Described) -> dict[str, Described]:
    amz_date = dict(question["headers"])["x-amz-date"]
    authorization = dict(question["headers"])["authorization"]
    headers = question["headers"]
    return {
        "method": question | {"method": "DELETE"},
        "path": question | {"target": "/orders/8"},
        "query": question | {"target": question["target"] + "?all=1"},
        "body hash": question | {"body_sha256": hashlib.sha256(b"other").hexdigest()},
        "host": replaced(question, "host", "billing.example"),
        "signed header": replaced(question, "x-order", "2"),
        "signature": replaced(
            question, "authorization", authorization[:-1] + ("0" if authorization[-1] != "0" else "1")
        ),
        "a header left out": question | {"headers": [each for each in headers if each[0] != "x-order"]},
        "a signed header twice": question | {"headers": [*headers, ["x-order", "2"]]},
        "a signed header twice in another case": question | {"headers": [*headers, ["X-Order", "2"]]},
        "an unsigned x-amz header": question | {"headers": [*headers, ["x-amz-target", "Other"]]},
        "two hosts": question | {"headers": [*headers, ["host", "orders.example"]]},
        "two dates": question | {"headers": [*headers, ["X-Amz-Date", amz_date]]},
        "two authorizations": question | {"headers": [*headers, ["Authorization", authorization]]},
        "a token that it never had": question | {"headers": [*headers, ["x-amz-security-token", "t"]]},
        "dot segments": question | {"target": "/admin/../orders"},
        "empty segments": question | {"target": "//orders"},
        "encoded dot segments": question | {"target": "/admin/%2e%2e/orders"},
        "an encoded slash": question | {"target": "/orders%2f"},
        "an absolute target": question | {"target": "http://orders.example/orders"},
        "a header that poses as another": question | {"headers": [*headers, ["x_amz_date", amz_date]]},
        "no target": question | {"target": ""},
    }


CHANGES = list(changes(described(Credentials("AKIAIOSFODNN7EXAMPLE", "secret"), headers={"X-Order": "1"})))


@pytest.mark.parametrize("change", CHANGES)
def test_a_request_that_was_changed_is_not_verified(
    living: LivingAuthority, service: Credentials, alice: Credentials, change: str
) -> None:
    question = described(alice, headers={"X-Order": "1"})
    assert ask(living, service, question)["verified"] is True
    answer = ask(living, service, changes(question)[change])
    assert answer.keys() == {"verified", "code", "message", "status"}
    assert answer["verified"] is False
    assert 400 <= answer["status"] < 500


def test_a_request_to_another_service_is_not_verified(
    living: LivingAuthority, service: Credentials, alice: Credentials
) -> None:
    answer = ask(living, service, described(alice, service="billing") | {"service": "orders"})
    assert (answer["verified"], answer["code"]) == (False, "SignatureDoesNotMatch")
    assert "correct service: 'orders'" in answer["message"]


def test_an_old_request_is_not_verified(
    living: LivingAuthority, service: Credentials, alice: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = described(alice)
    living.clock.advance(seconds=16 * 60)
    later = datetime.fromtimestamp(living.clock.now_ms() / 1000, UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: later.replace(tzinfo=None))
    try:
        answer = ask(living, service, question)
    finally:
        living.clock.advance(seconds=-16 * 60)
    assert answer["verified"] is False
    assert "Signature expired" in answer["message"]


@pytest.mark.parametrize("word", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "0" * 64])
@pytest.mark.parametrize("name", ["orders", "s3"])
def test_a_payload_hash_that_is_not_the_bodys_is_refused_even_when_signed(
    living: LivingAuthority, service: Credentials, alice: Credentials, name: str, word: str
) -> None:
    question = described(alice, "PUT", body=b"{}", service=name, headers={"X-Amz-Content-SHA256": word})
    assert ask(living, service, question)["verified"] is False


@pytest.mark.parametrize("word", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"])
def test_a_word_is_no_payload_hash_even_if_the_service_says_so(
    living: LivingAuthority, service: Credentials, alice: Credentials, word: str
) -> None:
    question = described(alice, "PUT", body=b"{}", headers={"X-Amz-Content-SHA256": word})
    assert refused(living, service, question | {"body_sha256": word}) == (400, "ValidationError")


def test_a_url_that_signs_no_payload_says_so(
    living: LivingAuthority, service: Credentials, alice: Credentials
) -> None:
    request = AWSRequest("PUT", "https://orders.example/shelf")
    S3SigV4QueryAuth(alice, "s3", REGION, expires=60).add_auth(request)
    question = {
        "service": "s3",
        "method": "PUT",
        "target": str(request.url).removeprefix("https://orders.example"),
        "headers": [["host", "orders.example"]],
        "body_sha256": hashlib.sha256(b"anything").hexdigest(),
    }
    answer = ask(living, service, question)
    assert (answer["verified"], answer["signed_payload"]) == (True, False)


def test_a_true_payload_hash_is_taken(
    living: LivingAuthority, service: Credentials, alice: Credentials
) -> None:
    digest = hashlib.sha256(b"{}").hexdigest()
    question = described(alice, "PUT", body=b"{}", headers={"X-Amz-Content-SHA256": digest})
    assert ask(living, service, question)["verified"] is True
    assert (
        ask(living, service, question | {"body_sha256": hashlib.sha256(b"[]").hexdigest()})["verified"]
        is False
    )


def test_an_unknown_key_is_not_verified_and_not_recorded(
    living: LivingAuthority, service: Credentials
) -> None:
    answer = ask(living, service, described(Credentials("AKIAIOSFODNN7EXAMPLE", "wrong")))
    assert (answer["verified"], answer["code"]) == (False, "InvalidClientTokenId")


def test_what_is_not_signed_is_not_verified(
    living: LivingAuthority, service: Credentials, alice: Credentials
) -> None:
    question = described(alice) | {"headers": [["host", "orders.example"]]}
    assert ask(living, service, question)["code"] == "MissingAuthenticationToken"


# Questions that are none


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("service", None),
        ("service", "../orders"),
        ("service", ["orders"]),
        ("method", "get"),
        ("method", 1),
        ("method", "GET / HTTP/1.1\r\nHost: x"),
        ("target", None),
        ("target", "/\N{SNOWMAN}"),
        ("target", ["/orders"]),
        ("target", "/" + "x" * 40_000),
        ("headers", None),
        ("headers", {"host": "orders.example"}),
        ("headers", [["host"]]),
        ("headers", [["host", 1]]),
        ("headers", ["host:orders.example"]),
        ("headers", [["x\r\nhost", "orders.example"]]),
        ("headers", [["x", "a\r\nhost: b"]]),
        ("headers", [["x", "a\x00"]]),
        ("headers", [["x", "1"]] * 101),
        ("headers", [["", "1"]]),
        ("body_sha256", None),
        ("body_sha256", "UNSIGNED-PAYLOAD"),
        ("body_sha256", "A" * 64),
        ("body_sha256", "a" * 64 + "\n"),
        ("action", "iam:CreateUser"),
        ("action", "sts:AssumeRole"),
        ("action", "keyturn:Verify"),
        ("action", "secretsmanager:GetSecretValue"),
        ("action", "orders:*"),
        ("action", ""),
        ("action", None),
        ("resource", "everything"),
        ("resource", "arn:aws:orders:::a\nb"),
        ("stage", "a/b"),
        ("source_address", "localhost"),
        ("source_address", 1),
        ("secure", "yes"),
        ("unheard-of", "x"),
    ],
)
def test_a_question_of_another_shape_is_refused(
    living: LivingAuthority, service: Credentials, alice: Credentials, name: str, value: object
) -> None:
    assert refused(living, service, described(alice) | {name: value}) == (400, "ValidationError")


@pytest.mark.parametrize("name", ["unheard-of", "keyturn", "iam", "sts"])
def test_requests_to_a_service_that_is_not_named_are_not_verified(
    living: LivingAuthority, service: Credentials, alice: Credentials, name: str
) -> None:
    assert refused(living, service, described(alice, service=name)) == (400, "UnknownService")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"verified"',
        b"{",
        b"\xff{}",
        b"[" * 60_000,
        b'{"service": "orders", "service": "orders"}',
        b'{"secure": NaN}',
        b'{"secure": ' + b"9" * 10_000 + b"}",
        b'{"a":' * 20_000,
    ],
    ids=range(11),
)
def test_what_is_no_json_object_is_refused(
    living: LivingAuthority, service: Credentials, body: bytes
) -> None:
    status, answer, _ = ask_raw(living, service, body)
    assert (status, answer["code"]) == (400, "ValidationError")


def test_a_question_that_is_too_large_is_refused_before_it_is_read(
    living: LivingAuthority, service: Credentials
) -> None:
    status, answer, _ = ask_raw(living, service, b'{"a": "' + b"x" * 140_000 + b'"}')
    assert (status, answer["code"]) == (413, "RequestTooLarge")


def test_a_path_whose_bytes_are_no_text_is_not_verified(
    living: LivingAuthority, service: Credentials, alice: Credentials
) -> None:
    assert ask(living, service, described(alice, target="/orders/%ff"))["verified"] is False


def test_an_encoded_path_is_decided_on_as_it_reads(living: LivingAuthority, service: Credentials) -> None:
    ivan = new_user(
        living,
        "ivan",
        policy("execute-api:Invoke"),
        policy("execute-api:Invoke", "arn:aws:execute-api:*:*:orders/*/*/admin*", "Deny"),
    )
    assert ask(living, service, described(ivan, target="/orders"))["decision"]["allowed"] is True
    answer = ask(living, service, described(ivan, target="/%61dmin"))
    assert answer["verified"] is True
    assert answer["decision"]["allowed"] is False


def test_a_path_in_another_form_is_named_by_no_policy(living: LivingAuthority, service: Credentials) -> None:
    """S3's paths are signed as they are sent, so that they verify; an ARN made of them could mean another one."""
    judy = new_user(living, "judy", policy("*"))
    empty = hashlib.sha256(b"").hexdigest()
    request = AWSRequest("GET", "https://orders.example/a//b", {"X-Amz-Content-SHA256": empty})
    S3SigV4Auth(judy, "s3", REGION).add_auth(request)
    headers = [
        ["host", "orders.example"],
        *([name.lower(), value] for name, value in request.headers.items()),
    ]
    question = {"service": "s3", "method": "GET", "target": "/a//b", "headers": headers, "body_sha256": empty}
    answer = ask(living, service, question)
    assert answer["verified"] is True, answer
    assert answer["decision"]["allowed"] is False
    named = question | {"action": "s3:GetObject", "resource": "arn:aws:s3:::a//b"}
    assert ask(living, service, named)["decision"]["allowed"] is True
