"""Rewriting whom a document names, and nothing else of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keyturn.policy.elements import read_elements, with_principals

ARN = "arn:aws:iam::123456789012:user/bob"


def rewritten(text: str) -> str:
    return with_principals(text, lambda name: "AIDAQWERTYUIOPASDFGHJ" if name == ARN else name)


def document(statement: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statement}, indent=1)


@pytest.mark.parametrize("element", ["Principal", "NotPrincipal"])
@pytest.mark.parametrize("names", [ARN, [ARN], ["210987654321", ARN]])
@pytest.mark.parametrize("is_list", [True, False])
def test_a_principal_is_rewritten_wherever_it_may_stand(
    element: str, names: str | list[str], *, is_list: bool
) -> None:
    statement = {"Sid": "one", element: {"Service": ["ec2.amazonaws.com"], "AWS": names}, "Action": "*"}
    text = document([statement] if is_list else statement)
    assert rewritten(text) == text.replace(ARN, "AIDAQWERTYUIOPASDFGHJ")


def test_what_only_looks_like_a_principal_is_left_alone() -> None:
    condition = {"StringEquals": {"AWS": ARN, "aws:PrincipalArn": [ARN], "Principal": ARN}}
    statement = {"Principal": {"Federated": ARN}, "Sid": "AWS", "Resource": ARN, "Condition": condition}
    for text in (
        document([statement]),
        document({"Principal": "*", "Condition": condition}),
        json.dumps({"Id": ARN, "Principal": {"AWS": ARN}, "Statement": []}),
    ):
        assert rewritten(text) == text


def test_escapes_and_brackets_in_texts_are_read_as_json_reads_them() -> None:
    hidden = "".join(f"\\u{ord(char):04x}" for char in "AWS")
    text = (
        '{"Statement": [{"Sid": "}],{\\"", "Princip\\u0061l": {"%s": ["%s"]}}, {"Principal": {"AWS": "%s"}}]}'
    )
    text = text.replace("%s", hidden, 1).replace("%s", ARN.replace("/", "\\/")).replace("%s", ARN)
    names = [each["Principal"]["AWS"] for each in read_elements(rewritten(text))["Statement"]]  # type: ignore[union-attr,index,call-overload]  # it is a list of objects
    assert names == [["AIDAQWERTYUIOPASDFGHJ"], "AIDAQWERTYUIOPASDFGHJ"]
