"""Who used a key: AWS's `GetAccessKeyLastUsed`, and beyond it the rows of who used it and who was refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from authority.calls import Person, Refused, form, members, person, refused, send_signed, statement
from keyturn.authority.last_used import ROWS_PER_KEY
from keyturn.authority.storage.usage import FOLDED, UsageRow
from keyturn.model.access_keys import AccessKeyId
from keyturn.model.errors import KeyturnError
from keyturn.wiring import KeyUsage, usage_of
from living_authority import REGION, HeldClock, LivingAuthority, living_authority

UNKNOWN_ID = "AKIAIOSFODNN7EXAMPLE"
NEVER: dict[str, Any] = {"ServiceName": "N/A", "Region": "N/A"}


def last_used(authority: LivingAuthority, access_key_id: str) -> dict[str, Any]:
    answer = members(authority.iam().get_access_key_last_used(AccessKeyId=access_key_id))
    assert set(answer) == {"UserName", "AccessKeyLastUsed"}
    used: dict[str, Any] = answer["AccessKeyLastUsed"]
    return used


def usage(authority: LivingAuthority, access_key_id: str) -> KeyUsage:
    """As `keyturn usage` reads it, beside the running server."""
    authority.keep_house()
    return usage_of(authority.settings.place, access_key_id)


def unproved_count(authority: LivingAuthority, access_key_id: str) -> int:
    unproved = usage(authority, access_key_id).unproved
    return 0 if unproved is None else unproved.count


# GetAccessKeyLastUsed


def test_a_key_that_was_never_used_has_no_date(shared_authority: LivingAuthority) -> None:
    access_key_id, _secret = shared_authority.new_user_with_key("never")
    answer = shared_authority.iam().get_access_key_last_used(AccessKeyId=access_key_id)
    assert members(answer) == {"UserName": "never", "AccessKeyLastUsed": NEVER}


def test_a_use_is_told_with_its_service_and_the_region_that_was_signed(
    shared_authority: LivingAuthority,
) -> None:
    me = person(shared_authority, "user-of-key", statement("Allow", "iam:GetUser"))
    me.iam().get_user()
    used = last_used(shared_authority, me.access_key_id)
    assert set(used) == {"LastUsedDate", "ServiceName", "Region"}
    assert (used["ServiceName"], used["Region"]) == ("iam", REGION)
    assert used["LastUsedDate"].microsecond == 0
    assert abs(datetime.now(UTC) - used["LastUsedDate"]) < timedelta(minutes=1)
    body = form("sts", "GetCallerIdentity")
    key = (me.access_key_id, me.secret)
    assert send_signed(shared_authority, "sts", body, key=key, region="us-east-1").status == 200
    used = last_used(shared_authority, me.access_key_id)
    assert (used["ServiceName"], used["Region"]) == ("sts", "us-east-1")


def test_each_use_moves_the_date(authority: LivingAuthority) -> None:
    me = person(authority, "ana")
    me.sts().get_caller_identity()
    first = last_used(authority, me.access_key_id)["LastUsedDate"]
    authority.clock.advance(seconds=90)
    assert last_used(authority, me.access_key_id)["LastUsedDate"] == first, "asking is no use of that key"
    me.sts().get_caller_identity()
    moved = last_used(authority, me.access_key_id)["LastUsedDate"] - first
    assert timedelta(seconds=90) <= moved < timedelta(seconds=120)


def test_a_use_counts_also_when_policy_denies_or_nothing_of_the_kind_is_offered(
    shared_authority: LivingAuthority,
) -> None:
    me = person(shared_authority, "denied-user")
    key = (me.access_key_id, me.secret)
    assert refused(me.iam().list_users).code == "AccessDenied"
    assert last_used(shared_authority, me.access_key_id)["ServiceName"] == "iam"
    for action in ("ListRoles", "NoSuchAction"):
        assert send_signed(shared_authority, "iam", form("iam", action), key=key).status >= 400
    actions = {row.key.action: row.count for row in usage(shared_authority, me.access_key_id).rows}
    assert actions == {"ListUsers": 1, "ListRoles": 1, "-": 1}


def test_a_use_never_counts_with_a_wrong_signature_or_an_inactive_key(
    shared_authority: LivingAuthority,
) -> None:
    me = person(shared_authority, "refused-user")
    wrong = shared_authority.sts(me.access_key_id, "x" * 40)
    assert refused(wrong.get_caller_identity).code == "SignatureDoesNotMatch"
    assert last_used(shared_authority, me.access_key_id) == NEVER
    switch = {"UserName": "refused-user", "AccessKeyId": me.access_key_id}
    shared_authority.iam().update_access_key(**switch, Status="Inactive")
    assert refused(me.sts().get_caller_identity).code == "InvalidClientTokenId"
    assert last_used(shared_authority, me.access_key_id) == NEVER
    shared_authority.iam().update_access_key(**switch, Status="Active")
    me.sts().get_caller_identity()
    used = last_used(shared_authority, me.access_key_id)
    shared_authority.iam().update_access_key(**switch, Status="Inactive")
    shared_authority.clock.advance(seconds=5)
    assert refused(me.sts().get_caller_identity).code == "InvalidClientTokenId"
    assert last_used(shared_authority, me.access_key_id) == used, "the inactive key still tells its last use"


def denied(caller_arn: str, access_key_id: str) -> Refused:
    return Refused(
        "AccessDenied",
        403,
        f"User: {caller_arn} is not authorized to perform iam:GetAccessKeyLastUsed"
        f" on resource: access key {access_key_id}",
    )


def test_an_unknown_key_and_a_forbidden_one_are_refused_in_the_same_words(
    shared_authority: LivingAuthority,
) -> None:
    """So that nobody learns from the answer which ids exist."""
    administrator = shared_authority.sts().get_caller_identity()["Arn"]
    ask = shared_authority.iam().get_access_key_last_used
    assert refused(ask, AccessKeyId=UNKNOWN_ID) == denied(administrator, UNKNOWN_ID)
    me = person(shared_authority, "curious")
    another, _secret = shared_authority.new_user_with_key("watched")
    for access_key_id in (UNKNOWN_ID, another, "A" * 16):
        answer = refused(me.iam().get_access_key_last_used, AccessKeyId=access_key_id)
        assert answer == denied(me.arn, access_key_id)
    shared_authority.iam().delete_access_key(UserName="watched", AccessKeyId=another)
    assert refused(ask, AccessKeyId=another) == denied(administrator, another), "gone is unknown"


def test_permission_is_asked_for_the_user_that_holds_the_key(shared_authority: LivingAuthority) -> None:
    me = person(
        shared_authority,
        "own-keys",
        statement("Allow", "iam:GetAccessKeyLastUsed", "arn:aws:iam::*:user/${aws:username}"),
    )
    another, _secret = shared_authority.new_user_with_key("others-keys")
    iam = me.iam()
    assert iam.get_access_key_last_used(AccessKeyId=me.access_key_id)["UserName"] == "own-keys"
    assert refused(iam.get_access_key_last_used, AccessKeyId=another) == denied(me.arn, another)


def test_the_last_use_survives_a_restart(tmp_path: Path) -> None:
    home, clock = tmp_path / "home", HeldClock()
    with living_authority(home, clock) as first:
        me = person(first, "ana", statement("Allow", "iam:GetUser"))
        me.iam().get_user()
        wrong = refused(first.sts(me.access_key_id, "x" * 40).get_caller_identity)
        assert wrong.code == "SignatureDoesNotMatch"
        used = last_used(first, me.access_key_id)
    with living_authority(home, clock) as second:
        assert last_used(second, me.access_key_id) == used
        again = Person(second, me.name, me.access_key_id, me.secret)
        again.iam().get_user()
        kept = usage(second, me.access_key_id)
        assert [(row.key.action, row.count) for row in kept.rows] == [("GetUser", 2)]
        assert kept.unproved is not None
        assert kept.unproved.count == 1


# Rows of use


def test_a_row_tells_source_agent_service_action_first_last_and_count(authority: LivingAuthority) -> None:
    me = person(authority, "ana", statement("Allow", "iam:GetUser"))
    before = authority.clock.now_ms()
    iam = me.iam(user_agent="workload/1.0 (nightly)")
    iam.get_user()
    authority.clock.advance(seconds=60)
    iam.get_user()
    authority.keep_house()
    iam.get_user()
    found = usage(authority, me.access_key_id)
    assert (found.issued.access_key_id, found.issued.user_name) == (me.access_key_id, "ana")
    [row] = found.rows
    assert (row.key.outcome, row.key.source, row.key.service, row.key.action) == (
        "used",
        "127.0.0.1",
        "iam",
        "GetUser",
    )
    assert row.key.user_agent.startswith("workload/1.0 (nightly)")
    assert row.count == 3
    assert before <= row.first < before + 60_000 <= row.last
    assert found.last_used is not None
    assert (found.last_used.at, found.last_used.service, found.last_used.region) == (row.last, "iam", REGION)


def test_a_user_agent_is_kept_short_and_printable(shared_authority: LivingAuthority) -> None:
    me = person(shared_authority, "odd-agent")
    agent = "caf\u00e9\t" + "a" * 400
    answer = send_signed(
        shared_authority,
        "sts",
        form("sts", "GetCallerIdentity"),
        key=(me.access_key_id, me.secret),
        headers={"User-Agent": agent},
    )
    assert answer.status == 200
    [row] = usage(shared_authority, me.access_key_id).rows
    assert len(row.key.user_agent) == 256
    assert row.key.user_agent.isprintable()
    assert row.key.user_agent.isascii() or "\ufffd" in row.key.user_agent


def folded(rows: list[UsageRow]) -> tuple[list[UsageRow], list[UsageRow]]:
    """The rows of their own, and those that took the rest."""
    return (
        [row for row in rows if row.key.source != FOLDED],
        [row for row in rows if row.key.source == FOLDED],
    )


def test_a_key_has_at_most_200_rows_and_the_rest_fold_into_one(authority: LivingAuthority) -> None:
    assert ROWS_PER_KEY == 200
    me = person(authority, "ana")

    def use(agents: range) -> None:
        for number in agents:
            answer = send_signed(
                authority,
                "sts",
                form("sts", "GetCallerIdentity"),
                key=(me.access_key_id, me.secret),
                headers={"User-Agent": f"agent-{number}"},
            )
            assert answer.status == 200

    use(range(120))
    authority.keep_house()
    use(range(100, 230))
    own, rest = folded(usage(authority, me.access_key_id).rows)
    assert len(own) == 200
    assert sum(row.count for row in own) + sum(row.count for row in rest) == 250
    assert len(rest) == 1
    use(range(220, 240))
    own_later, rest_later = folded(usage(authority, me.access_key_id).rows)
    assert {row.key for row in own_later} == {row.key for row in own}
    assert len(rest_later) == 1
    assert sum(row.count for row in own_later + rest_later) == 270
    assert usage(authority, me.access_key_id).rows[-1].key.source == FOLDED, "the folded row comes last"


def test_many_agents_between_two_flushes_fold_too(authority: LivingAuthority) -> None:
    recorder = authority.opened.authority.services.usage
    access_key_id = AccessKeyId(person(authority, "ana").access_key_id)
    at = authority.clock.now_ms()

    def record() -> None:
        for number in range(1000):
            recorder.record_use(
                access_key_id,
                at=at,
                source="127.0.0.1",
                user_agent=f"agent-{number}",
                service="iam",
                region=REGION,
                action="GetUser",
            )

    authority.call(record)
    own, rest = folded(usage(authority, access_key_id).rows)
    assert len(own) == 200
    assert [row.count for row in rest] == [800]


# Refused attempts


def test_an_attempt_with_an_inactive_key_is_proved_by_its_signature(authority: LivingAuthority) -> None:
    me = person(authority, "ana", statement("Allow", "iam:GetUser"))
    switch = {"UserName": "ana", "AccessKeyId": me.access_key_id}
    authority.iam().update_access_key(**switch, Status="Inactive")
    for _ in range(2):
        assert refused(me.iam(user_agent="left-behind").get_user).code == "InvalidClientTokenId"
    found = usage(authority, me.access_key_id)
    [row] = found.rows
    assert (row.key.outcome, row.key.action, row.count) == ("refused", "GetUser", 2)
    assert row.key.user_agent.startswith("left-behind")
    assert (row.key.source, row.key.service) == ("127.0.0.1", "iam")
    assert found.unproved is None
    assert found.last_used is None
    stranger = authority.iam(me.access_key_id, "x" * 40)
    assert refused(stranger.get_user).code == "InvalidClientTokenId", "no word of which it was"
    found = usage(authority, me.access_key_id)
    assert [row.count for row in found.rows] == [2]
    assert found.unproved is not None
    assert (found.unproved.count, found.unproved.source) == (1, "127.0.0.1")


def test_a_wrong_signature_and_a_deleted_key_leave_only_a_count_and_an_address(
    authority: LivingAuthority,
) -> None:
    me = person(authority, "ana")
    stranger = authority.sts(me.access_key_id, "x" * 40)
    for count in (1, 2):
        assert refused(stranger.get_caller_identity).code == "SignatureDoesNotMatch"
        assert unproved_count(authority, me.access_key_id) == count
    authority.iam().delete_access_key(UserName="ana", AccessKeyId=me.access_key_id)
    assert refused(me.sts().get_caller_identity).code == "InvalidClientTokenId"
    found = usage(authority, me.access_key_id)
    assert found.rows == []
    assert found.issued.deleted_at is not None
    assert found.unproved is not None
    assert (found.unproved.count, found.unproved.source) == (3, "127.0.0.1")


def test_a_stale_clock_is_no_attempt_at_the_key(authority: LivingAuthority) -> None:
    me = person(authority, "ana")
    authority.clock.advance(seconds=20 * 60)
    answer = refused(me.sts().get_caller_identity)
    assert answer.code == "SignatureDoesNotMatch"
    assert answer.message.startswith("Signature expired: ")
    assert unproved_count(authority, me.access_key_id) == 0


def test_ids_that_were_never_issued_are_not_recorded(shared_authority: LivingAuthority) -> None:
    stranger = shared_authority.sts(UNKNOWN_ID, "x" * 40)
    assert refused(stranger.get_caller_identity).code == "InvalidClientTokenId"
    shared_authority.keep_house()
    with pytest.raises(KeyturnError, match="was ever issued here"):
        usage_of(shared_authority.settings.place, UNKNOWN_ID)

    def rows_of_unknown() -> list[Any]:
        with shared_authority.opened.usage_store.read() as reader:
            return [
                row
                for table in ("last_uses", "usage_rows", "unproved_attempts")
                for row in reader.rows(
                    f"SELECT 1 FROM {table} WHERE access_key_id = :id",  # noqa: S608 - three names of ours
                    {"id": UNKNOWN_ID},
                )
            ]

    assert shared_authority.call(rows_of_unknown) == []


def test_refused_rows_share_the_200_of_their_key(authority: LivingAuthority) -> None:
    """Whoever holds the secret of an inactive key can't push out what is known of its use, nor fill the disk."""
    me = person(authority, "ana", statement("Allow", "iam:GetUser"))
    me.iam(user_agent="honest").get_user()
    authority.keep_house()
    authority.iam().update_access_key(UserName="ana", AccessKeyId=me.access_key_id, Status="Inactive")
    for number in range(210):
        answer = send_signed(
            authority,
            "sts",
            form("sts", "GetCallerIdentity"),
            key=(me.access_key_id, me.secret),
            headers={"User-Agent": f"thief-{number}"},
        )
        assert answer.status == 403
    own, rest = folded(usage(authority, me.access_key_id).rows)
    assert len(own) == 200
    assert [row.count for row in own if row.key.outcome == "used"] == [1]
    assert [(row.key.outcome, row.count) for row in rest] == [("refused", 11)]
