"""What people do beside rotating: listings in pages, policies, tags."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import unquote

import boto3
import pytest

from acceptance.proofs import proves
from acceptance.real_clients import AwsCommandLine, Boto3Client, RealClient
from acceptance.served import Endpoint

DOCUMENT: Final = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "OwnKeys",
            "Effect": "Allow",
            "Action": ["iam:*AccessKey*", "iam:GetUser"],
            "Resource": "arn:aws:iam::*:user/${aws:username}",
        },
        {"Effect": "Deny", "Action": "iam:*", "Resource": "arn:aws:iam::*:user/a+b=c,d@e/*"},
    ],
}


@pytest.fixture
def user(client: RealClient, client_name: str) -> str:
    """A user of this client's own, made beforehand."""
    name = client_name.replace(" ", "-") + "-with+signs=in,its@name"
    administrator = Boto3Client(client.endpoint)
    existing = administrator.call("iam", "ListUsers", {})["Users"]
    if name not in [found["UserName"] for found in existing]:
        administrator.call("iam", "CreateUser", {"UserName": name})
    administrator.close()
    return name


@proves("a listing page by page")
def test_a_listing_comes_page_by_page(client: RealClient, client_name: str) -> None:
    path = f"/pages/{client_name.replace(' ', '-')}/"
    names = [f"{client_name.replace(' ', '-')}-{number}" for number in range(3)]
    administrator = Boto3Client(client.endpoint)
    for name in names:
        administrator.call("iam", "CreateUser", {"UserName": name, "Path": path})
    administrator.close()

    def page(token: str | None) -> tuple[list[str], str | None]:
        if isinstance(client, AwsCommandLine):
            # `--max-items` is the command line's own paging: its token is not the wire's marker.
            more = ["--starting-token", token] if token else []
            words = ["iam", "list-users", "--path-prefix", path, "--max-items", "2", *more]
            answer = client.run(*words, env=client.endpoint.environment())
            return [user["UserName"] for user in answer["Users"]], answer.get("NextToken")
        parameters: dict[str, Any] = {"PathPrefix": path, "MaxItems": 2}
        answer = client.call("iam", "ListUsers", parameters | ({"Marker": token} if token else {}))
        assert answer["IsTruncated"] is ("Marker" in answer)
        return [user["UserName"] for user in answer["Users"]], answer.get("Marker")

    first, token = page(None)
    assert first == names[:2]
    rest, end = page(token)
    assert (rest, end) == (names[2:], None)


def test_boto3s_paginator_finds_everybody(endpoint: Endpoint) -> None:
    iam = boto3.client(
        "iam",
        endpoint_url=endpoint.url,
        region_name="us-east-1",
        aws_access_key_id=endpoint.administrator.access_key_id,
        aws_secret_access_key=endpoint.administrator.secret,
    )
    pages = iam.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 1})
    assert [user["UserName"] for page in pages for user in page["Users"]] == [
        user["UserName"] for user in iam.list_users()["Users"]
    ]
    iam.close()


@proves("an inline policy comes back as it was put")
def test_an_inline_policy_comes_back_as_it_was_put(client: RealClient, user: str) -> None:
    place = {"UserName": user, "PolicyName": "own+keys"}
    client.call("iam", "PutUserPolicy", place | {"PolicyDocument": json.dumps(DOCUMENT, indent=1)})
    answer = client.call("iam", "GetUserPolicy", place)
    found = answer["PolicyDocument"]
    if isinstance(found, str):
        # The JavaScript SDK hands out what stands on the wire, as RFC 3986 encodes it; the others decode it.
        found = json.loads(unquote(found))
    assert found == DOCUMENT
    assert (answer["UserName"], answer["PolicyName"]) == (user, "own+keys")


@proves("a managed policy is created, attached and listed")
def test_a_managed_policy_is_created_attached_and_listed(client: RealClient, user: str) -> None:
    name = f"managed-{user}"
    policy = client.call("iam", "CreatePolicy", {"PolicyName": name, "PolicyDocument": json.dumps(DOCUMENT)})[
        "Policy"
    ]
    assert (policy["PolicyName"], policy["DefaultVersionId"], policy["AttachmentCount"]) == (name, "v1", 0)
    client.call("iam", "AttachUserPolicy", {"UserName": user, "PolicyArn": policy["Arn"]})
    attached = client.call("iam", "ListAttachedUserPolicies", {"UserName": user})["AttachedPolicies"]
    assert attached == [{"PolicyName": name, "PolicyArn": policy["Arn"]}]


@proves("tags are set and listed")
def test_tags_are_set_and_listed(client: RealClient, user: str) -> None:
    tags = [{"Key": "team", "Value": "a + b = ünïcode @ 5:00"}, {"Key": "until", "Value": "2027-01-01"}]
    client.call("iam", "TagUser", {"UserName": user, "Tags": tags})
    answer = client.call("iam", "ListUserTags", {"UserName": user})
    assert sorted(answer["Tags"], key=lambda tag: tag["Key"]) == tags
