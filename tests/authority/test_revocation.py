"""When a revocation has been answered, the key is refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from living_authority import LivingAuthority


def code(raised: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = raised.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_a_deactivated_key_is_refused_at_once_and_accepted_again_when_it_is_active_again(
    authority: LivingAuthority,
) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    caller = authority.sts(access_key_id, secret)
    assert caller.get_caller_identity()["Arn"].endswith(":user/ana")

    authority.iam().update_access_key(UserName="ana", AccessKeyId=access_key_id, Status="Inactive")
    with pytest.raises(ClientError) as refused:
        caller.get_caller_identity()
    assert code(refused) == ("InvalidClientTokenId", 403)

    authority.iam().update_access_key(UserName="ana", AccessKeyId=access_key_id, Status="Active")
    assert caller.get_caller_identity()["Arn"].endswith(":user/ana")


def test_a_caller_is_told_their_new_name_and_path_at_once(authority: LivingAuthority) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    caller = authority.sts(access_key_id, secret)
    for _ in range(2):
        assert caller.get_caller_identity()["Arn"].endswith(":user/ana")
    authority.iam().update_user(UserName="ana", NewUserName="anna")
    assert caller.get_caller_identity()["Arn"].endswith(":user/anna")
    authority.iam().update_user(UserName="anna", NewPath="/people/")
    for _ in range(2):
        assert caller.get_caller_identity()["Arn"].endswith(":user/people/anna")


def test_each_answer_to_one_caller_has_an_id_of_its_own(authority: LivingAuthority) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    caller = authority.sts(access_key_id, secret)
    told = [caller.get_caller_identity()["ResponseMetadata"] for _ in range(3)]
    assert len({each["RequestId"] for each in told}) == 3
    for each in told:
        assert each["HTTPHeaders"]["x-amzn-requestid"] == each["RequestId"]


def test_a_deleted_key_is_refused_at_once(authority: LivingAuthority) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    caller = authority.sts(access_key_id, secret)
    caller.get_caller_identity()
    authority.iam().delete_access_key(UserName="ana", AccessKeyId=access_key_id)
    with pytest.raises(ClientError) as refused:
        caller.get_caller_identity()
    assert code(refused) == ("InvalidClientTokenId", 403)


def test_a_wrong_secret_is_refused(authority: LivingAuthority) -> None:
    access_key_id, _secret = authority.new_user_with_key("ana")
    with pytest.raises(ClientError) as refused:
        authority.sts(access_key_id, "x" * 40).get_caller_identity()
    assert code(refused) == ("SignatureDoesNotMatch", 403)


@pytest.mark.parametrize("how", ["deactivated", "deleted"])
def test_no_call_that_begins_after_the_answer_is_accepted_while_others_call_without_pause(
    authority: LivingAuthority, how: str
) -> None:
    iam = authority.iam()
    access_key_id, secret = authority.new_user_with_key("ana")
    key: Any = {"UserName": "ana", "AccessKeyId": access_key_id}
    workers = 6
    running = threading.Barrier(workers + 1)
    answered = threading.Event()

    def call_without_pause() -> tuple[int, int]:
        """Until the first refusal: how many calls were accepted, and how many of those began too late."""
        sts = authority.sts(access_key_id, secret)
        accepted, late = 0, 0
        running.wait(30)
        while True:
            is_late = answered.is_set()
            try:
                sts.get_caller_identity()
            except ClientError as error:
                assert error.response["Error"]["Code"] == "InvalidClientTokenId"  # noqa: PT017 - else a failure
                return accepted, late
            accepted += 1
            late += is_late

    with ThreadPoolExecutor(workers) as pool:
        calling = [pool.submit(call_without_pause) for _ in range(workers)]
        running.wait(30)
        for _ in range(30):
            iam.get_user()
        if how == "deleted":
            iam.delete_access_key(**key)
        else:
            iam.update_access_key(**key, Status="Inactive")
        answered.set()
        results = [call.result(60) for call in calling]
    assert sum(accepted for accepted, _late in results) > 0
    assert [late for _accepted, late in results] == [0] * workers


def test_a_key_of_a_user_who_is_gone_is_refused(authority: LivingAuthority) -> None:
    """Deleting a user takes their keys first; what they signed before stays refused after a namesake comes."""
    access_key_id, secret = authority.new_user_with_key("ana")
    caller = authority.sts(access_key_id, secret)
    caller.get_caller_identity()
    authority.iam().delete_access_key(UserName="ana", AccessKeyId=access_key_id)
    authority.iam().delete_user(UserName="ana")
    authority.new_user_with_key("ana")
    with pytest.raises(ClientError) as refused:
        caller.get_caller_identity()
    assert code(refused) == ("InvalidClientTokenId", 403)


def test_a_key_that_was_switched_many_times_is_what_it_was_set_to_last(authority: LivingAuthority) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    caller = authority.sts(access_key_id, secret)
    iam = authority.iam()
    key: Any = {"UserName": "ana", "AccessKeyId": access_key_id}
    for _ in range(10):
        iam.update_access_key(**key, Status="Inactive")
        with pytest.raises(ClientError):
            caller.get_caller_identity()
        iam.update_access_key(**key, Status="Active")
        caller.get_caller_identity()
