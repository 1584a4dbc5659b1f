"""When a revocation has been answered, the key is refused."""

from __future__ import annotations

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
