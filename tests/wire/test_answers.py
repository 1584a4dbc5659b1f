"""Answers as they stand on the wire, byte for byte, and what an encoder refuses."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.model.secrets import Secret
from keyturn.wire.faults import Fault, no_such_entity, service_failure
from wire.service_models import contract, corners

REQUEST_ID = "c6104cbe-af31-11e0-8154-cbc7ccf896c7"
METADATA = f"<ResponseMetadata><RequestId>{REQUEST_ID}</RequestId></ResponseMetadata>"
IAM = "https://iam.amazonaws.com/doc/2010-05-08/"
STS = "https://sts.amazonaws.com/doc/2011-06-15/"


def answer(service: str, operation: str, result: dict[str, object] | None) -> str:
    return contract(service).operations[operation].encode(result, REQUEST_ID).decode()


def test_the_answer_of_an_operation_has_its_result_and_the_requests_id() -> None:
    result: dict[str, object] = {"Arn": "arn:aws:iam::111111111111:user/a", "UserId": "AIDA", "Account": "1"}
    assert answer("sts", "GetCallerIdentity", result) == (
        f'<GetCallerIdentityResponse xmlns="{STS}"><GetCallerIdentityResult>'
        "<UserId>AIDA</UserId><Account>1</Account><Arn>arn:aws:iam::111111111111:user/a</Arn>"
        f"</GetCallerIdentityResult>{METADATA}</GetCallerIdentityResponse>"
    )


def test_elements_stand_in_the_models_order_and_times_are_whole_seconds() -> None:
    key = {
        "CreateDate": 1770806438999,
        "SecretAccessKey": Secret(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        "Status": "Active",
        "AccessKeyId": "AKIAIOSFODNN7EXAMPLE",
        "UserName": "ci-deploy-bot",
    }
    assert answer("iam", "CreateAccessKey", {"AccessKey": key}) == (
        f'<CreateAccessKeyResponse xmlns="{IAM}"><CreateAccessKeyResult><AccessKey>'
        "<UserName>ci-deploy-bot</UserName><AccessKeyId>AKIAIOSFODNN7EXAMPLE</AccessKeyId><Status>Active</Status>"
        "<SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY</SecretAccessKey>"
        "<CreateDate>2026-02-11T10:40:38Z</CreateDate></AccessKey></CreateAccessKeyResult>"
        f"{METADATA}</CreateAccessKeyResponse>"
    )


@pytest.mark.parametrize("result", [None, {}])
def test_an_operation_without_output_has_no_result_element(result: dict[str, object] | None) -> None:
    assert answer("iam", "DeleteAccessKey", result) == (
        f'<DeleteAccessKeyResponse xmlns="{IAM}">{METADATA}</DeleteAccessKeyResponse>'
    )


def test_an_empty_list_is_an_empty_element_and_what_is_absent_or_none_has_none() -> None:
    assert answer(
        "iam", "ListAccessKeys", {"AccessKeyMetadata": [], "IsTruncated": False, "Marker": None}
    ) == (
        f'<ListAccessKeysResponse xmlns="{IAM}"><ListAccessKeysResult>'
        "<AccessKeyMetadata></AccessKeyMetadata><IsTruncated>false</IsTruncated>"
        f"</ListAccessKeysResult>{METADATA}</ListAccessKeysResponse>"
    )


def test_members_of_lists_and_entries_of_maps_have_aws_names() -> None:
    assert (
        "<Tags><member><Key>a</Key><Value></Value></member></Tags><IsTruncated>true</IsTruncated>"
        in answer("iam", "ListUserTags", {"Tags": [{"Key": "a", "Value": ""}], "IsTruncated": True})
    )
    assert (
        "<SummaryMap><entry><key>Users</key><value>27</value></entry><entry><key>Groups</key><value>0</value></entry>"
        "</SummaryMap>"
    ) in answer("iam", "GetAccountSummary", {"SummaryMap": {"Users": 27, "Groups": 0}})


def test_a_report_is_base64() -> None:
    assert "<Content>dXNlcixhcm4=</Content>" in answer("iam", "GetCredentialReport", {"Content": b"user,arn"})


def test_any_mapping_is_a_result() -> None:
    result = MappingProxyType({"Account": "1"})
    assert b"<Account>1</Account>" in contract("sts").operations["GetAccessKeyInfo"].encode(result, "1")


def test_markup_is_escaped_wherever_it_stands() -> None:
    body = contract("sts").operations["GetCallerIdentity"].encode({"Arn": "<a>&]]>\"'"}, "<&>").decode()
    assert "<Arn>&lt;a&gt;&amp;]]&gt;\"'</Arn>" in body
    assert "<RequestId>&lt;&amp;&gt;</RequestId>" in body


@settings(derandomize=True, database=None, deadline=None, max_examples=300)
@given(
    st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\0\x01\x0b\r\x7f\x85\ufffe\uffff"))
)
def test_any_text_comes_back_as_far_as_xml_can_carry_it(text: str) -> None:
    carried = "".join("\ufffd" if _is_illegal(each) else each for each in text)
    assert arn_and_message(text) == (carried, carried)


def test_half_a_surrogate_pair_makes_no_malformed_answer() -> None:
    assert arn_and_message("a\ud800b\udfff") == ("a\ufffdb\ufffd", "a\ufffdb\ufffd")


def arn_and_message(text: str) -> tuple[str | None, str | None]:
    """A text that went through a result and through a fault."""
    result = ET.fromstring(contract("sts").operations["GetCallerIdentity"].encode({"Arn": text}, "1"))  # noqa: S314 - our own
    fault = ET.fromstring(contract("sts").encode_fault(no_such_entity(text), "1"))  # noqa: S314 - our own
    arn = result.findtext(f"{{{STS}}}GetCallerIdentityResult/{{{STS}}}Arn")
    return arn, fault.findtext(f"{{{STS}}}Error/{{{STS}}}Message")


def _is_illegal(character: str) -> bool:
    """XML 1.0, section 2.2."""
    return (character < " " and character not in "\t\n\r") or character in "\ufffe\uffff"


def test_a_fault_has_its_side_code_and_message() -> None:
    fault = no_such_entity("The user with name a&b cannot be found.")
    assert contract("iam").encode_fault(fault, REQUEST_ID).decode() == (
        f'<ErrorResponse xmlns="{IAM}"><Error><Type>Sender</Type><Code>NoSuchEntity</Code>'
        "<Message>The user with name a&amp;b cannot be found.</Message></Error>"
        f"<RequestId>{REQUEST_ID}</RequestId></ErrorResponse>"
    )
    assert b"<Type>Receiver</Type><Code>ServiceFailure</Code>" in contract("iam").encode_fault(
        service_failure(), "1"
    )


def test_a_fault_without_a_message_has_no_message_element() -> None:
    body = contract("iam").encode_fault(Fault("ReportNotPresent", None, status=410), "1")
    assert b"<Code>ReportNotPresent</Code></Error>" in body


# Our own mistakes.


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ("DeleteAccessKey", {"AccessKey": {}}),
        ("GetUser", {"user": {}}),
        ("GetUser", {"User": {"UserName": "a", "Password": "b"}}),
    ],
)
def test_a_member_outside_the_model_is_our_mistake(operation: str, result: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"has no member (user|Password)$|answers no result$"):
        answer("iam", operation, result)


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ("GetUser", {"User": []}),
        ("GetUser", {"User": {"UserName": b"a"}}),
        ("GetUser", {"User": {"UserName": Secret(b"a")}}),
        ("GetUser", {"User": {"CreateDate": "2026-02-11T10:40:38Z"}}),
        ("GetUser", {"User": {"CreateDate": 1.5}}),
        ("GetUser", {"User": {"CreateDate": True}}),
        ("ListUsers", {"Users": {}}),
        ("ListUsers", {"Users": "a"}),
        ("ListUsers", {"IsTruncated": "false"}),
        ("ListUsers", {"IsTruncated": 0}),
        ("GetAccountSummary", {"SummaryMap": [("a", 1)]}),
        ("GetAccountSummary", {"SummaryMap": {"a": "1"}}),
        ("GetCredentialReport", {"Content": "a"}),
    ],
    ids=str,
)
def test_a_value_of_another_type_is_our_mistake(operation: str, result: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"^\w+ takes (a )?\w+, not \w+$"):
        answer("iam", operation, result)


def test_a_secret_is_answered_only_as_a_secret_and_no_mistake_shows_it() -> None:
    with pytest.raises(TypeError) as caught:
        answer("iam", "CreateAccessKey", {"AccessKey": {"SecretAccessKey": "wJalrXUtnFEMI"}})
    assert str(caught.value) == "accessKeySecretType takes a Secret, not str"


def test_a_hidden_blob_is_base64_too() -> None:
    body = corners().operations["Turn"].encode({"Hidden": Secret(b"seed")}, "1")
    assert b"<Hidden>c2VlZA==</Hidden>" in body
