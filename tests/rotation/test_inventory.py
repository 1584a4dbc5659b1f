"""All keys of an account: whole, or not at all."""

from __future__ import annotations

import pytest

from keyturn.aws_clients import Reach
from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.clock import SystemClock
from keyturn.rotation.endpoint import EndpointRefusedError, NoSuchUserError
from keyturn.rotation.iam_endpoint import IamEndpoint
from keyturn.rotation.inventory import key_facts
from living_authority import REGION, LivingAuthority
from rotation.answering import Answer, Asked, answering, failure, result


def ours(authority: LivingAuthority) -> IamEndpoint:
    signer = authority.administrator
    assert signer.access_key_id
    pair = AccessKeyPair(signer.access_key_id, signer.secret)
    return IamEndpoint(Reach(authority.url, region=REGION), clock=SystemClock(), pair=pair)


def test_keys_come_in_the_users_order_with_what_is_known(authority: LivingAuthority) -> None:
    names = [f"user-{number:02d}" for number in range(20)]
    made = [authority.new_user_with_key(name)[0] for name in names]
    authority.sts(*authority.new_user_with_key("used")).get_caller_identity()
    authority.keep_house()
    endpoint = ours(authority)
    found = key_facts(
        endpoint,
        [*names, "used"],
        with_consumers=True,
        sinks_of=lambda user, _key: ("vault",) if user == "used" else (),
    )
    endpoint.close()
    assert [facts.key.access_key_id for facts in found[:-1]] == made
    assert found[0].consumers == []
    (consumer,) = found[-1].consumers or ()
    assert consumer.action == "GetCallerIdentity"
    assert (found[-1].sinks, found[0].sinks) == (("vault",), ())


def test_a_user_who_is_gone_has_no_keys_unless_somebody_named_him(authority: LivingAuthority) -> None:
    endpoint = ours(authority)
    assert key_facts(endpoint, ["nobody"], with_consumers=False) == []
    with pytest.raises(NoSuchUserError):
        key_facts(endpoint, ["nobody"], with_consumers=False, must_exist=True)
    endpoint.close()


def test_a_user_whose_keys_can_not_be_listed_leaves_no_gap_in_a_list(authority: LivingAuthority) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.parameter("UserName") == "secretive":
            return failure(403, "AccessDenied")
        return result("ListAccessKeys", "<AccessKeyMetadata/><IsTruncated>false</IsTruncated>")

    signer = authority.administrator
    assert signer.access_key_id
    with answering(answer) as foreign:
        endpoint = IamEndpoint(
            Reach(foreign.url, region=REGION),
            clock=SystemClock(),
            pair=AccessKeyPair(signer.access_key_id, signer.secret),
        )
        assert key_facts(endpoint, ["ana", "bob"], with_consumers=False) == []
        with pytest.raises(EndpointRefusedError):
            key_facts(endpoint, ["ana", "secretive", "bob"], with_consumers=False)
        endpoint.close()
