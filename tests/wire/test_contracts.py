"""What a compiled service promises."""

from __future__ import annotations

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel

from keyturn.wire import faults
from keyturn.wire.contracts import ServiceContract
from keyturn.wire.faults import Fault
from wire.service_models import SERVICES, contract, corners, decode, service_model


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_of_the_model_is_there(service: str) -> None:
    compiled = contract(service)
    assert list(compiled.operations) == service_model(service).operation_names
    assert (compiled.service, compiled.api_version) == (service, service_model(service).api_version)
    assert compiled.xml_namespace == f"https://{service}.amazonaws.com/doc/{compiled.api_version}/"


def test_an_operation_is_found_by_its_action_and_version() -> None:
    params = [("UserName", "a"), ("Version", "2010-05-08"), ("Action", "CreateAccessKey")]
    assert contract("iam").operation(params).name == "CreateAccessKey"


@pytest.mark.parametrize(
    "params", [[], [("Version", "2010-05-08")], [("Action", ""), ("Version", "2010-05-08")]]
)
def test_a_request_without_an_action_is_refused(params: list[tuple[str, str]]) -> None:
    with pytest.raises(Fault, match=r"^MissingAction: ") as caught:
        contract("iam").operation(params)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("action", "version", "message"),
    [
        ("MakeKey", "2010-05-08", "Could not find operation MakeKey for version 2010-05-08"),
        ("createaccesskey", "2010-05-08", "Could not find operation createaccesskey for version 2010-05-08"),
        ("GetPolicy", "2011-06-15", "Could not find operation GetPolicy for version 2011-06-15"),
        ("GetPolicy", None, "Could not find operation GetPolicy for version NO_VERSION_SPECIFIED"),
    ],
)
def test_an_action_outside_the_model_or_of_another_version_is_invalid(
    action: str, version: str | None, message: str
) -> None:
    params = [("Action", action)] + ([] if version is None else [("Version", version)])
    with pytest.raises(Fault) as caught:
        contract("iam").operation(params)
    fault = caught.value
    assert (fault.code, fault.status, fault.sender, fault.message) == ("InvalidAction", 400, True, message)


def test_a_megabyte_of_action_does_not_come_back() -> None:
    with pytest.raises(Fault) as caught:
        contract("iam").operation([("Action", "a" * 1_000_000), ("Version", "b" * 1_000_000)])
    assert caught.value.message is not None
    assert len(caught.value.message) < 400


def test_errors_go_by_their_code_and_not_by_their_shapes_name() -> None:
    statuses = contract("iam").operations["DeleteLoginProfile"].error_statuses
    assert statuses == {
        "LimitExceeded": 409,
        "NoSuchEntity": 404,
        "ServiceFailure": 500,
        "EntityTemporarilyUnmodifiable": 409,
    }
    assert contract("iam").operations["GetAccessKeyLastUsed"].error_statuses == {}
    assert contract("iam").operations["GetCredentialReport"].error_statuses["ReportNotPresent"] == 410
    assert corners().operations["Turn"].error_statuses == {"Untold": 400}


def test_arguments_are_a_handlers_keywords() -> None:
    assert decode(
        "iam",
        "CreateOpenIDConnectProvider",
        ("Url", "https://a.example"),
        ("ClientIDList.member.1", "b"),
        ("Tags.member.1.Key", "c"),
        ("Tags.member.1.Value", "d"),
    ) == {"url": "https://a.example", "client_id_list": ["b"], "tags": [{"Key": "c", "Value": "d"}]}


def test_the_name_of_a_user_is_shorter_on_create_than_anywhere_else() -> None:
    assert decode("iam", "GetUser", ("UserName", "a" * 128)) == {"user_name": "a" * 128}
    with pytest.raises(Fault, match="Member must have length less than or equal to 64"):
        decode("iam", "CreateUser", ("UserName", "a" * 65))


def test_the_status_of_a_key_may_be_expired_as_far_as_the_model_goes() -> None:
    params = (("AccessKeyId", "AKIAIOSFODNN7EXAMPLE"), ("Status", "Expired"))
    assert decode("iam", "UpdateAccessKey", *params)["status"] == "Expired"


def test_a_model_of_another_protocol_is_refused() -> None:
    model = ServiceModel(Loader().load_service_model("secretsmanager", "service-2"), "secretsmanager")
    with pytest.raises(NotImplementedError, match="does not speak the Query protocol"):
        ServiceContract.from_model(model)


@pytest.mark.parametrize(
    ("fault", "code", "status", "sender"),
    [
        (faults.no_such_entity("m"), "NoSuchEntity", 404, True),
        (faults.already_exists("m"), "EntityAlreadyExists", 409, True),
        (faults.limit_exceeded("m"), "LimitExceeded", 409, True),
        (faults.delete_conflict("m"), "DeleteConflict", 409, True),
        (faults.access_denied("m"), "AccessDenied", 403, True),
        (faults.invalid_input("m"), "InvalidInput", 400, True),
        (faults.malformed_policy_document("m"), "MalformedPolicyDocument", 400, True),
        (faults.service_failure(), "ServiceFailure", 500, False),
    ],
)  # fmt: skip
def test_a_faults_status_is_that_of_the_model(fault: Fault, code: str, status: int, *, sender: bool) -> None:
    assert (fault.code, fault.status, fault.sender) == (code, status, sender)
    declared = {
        shape.metadata["error"]["code"]: shape.metadata["error"]
        for shape in service_model("iam").error_shapes
        if "error" in shape.metadata
    }
    if code != "AccessDenied":
        assert declared[code]["httpStatusCode"] == status
        assert declared[code].get("senderFault", False) == sender


def test_what_is_not_offered_is_named() -> None:
    fault = faults.not_implemented("iam", "CreateRole")
    assert (fault.code, fault.status, fault.sender) == ("NotImplemented", 501, False)
    assert str(fault) == "NotImplemented: Keyturn does not offer iam:CreateRole."


def test_what_failed_inside_is_not_told() -> None:
    assert faults.service_unavailable().status == 503
    assert faults.internal_failure().status == 500
    assert faults.validation_error("m").status == 400
    assert faults.invalid_parameter_value("m").code == "InvalidParameterValue"
    assert str(Fault("ReportNotPresent", None, status=410)) == "ReportNotPresent"
