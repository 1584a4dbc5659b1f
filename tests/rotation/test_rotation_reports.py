"""Which keys stand out and what to do about them: rows 28 and 29 of the failure catalogue, the CIS numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest

from keyturn.model.access_keys import AccessKeyId, AccessKeyStatus
from keyturn.rotation.endpoint import Consumer, LastUse, NeverSeen, Unknown, Used, UserKey
from keyturn.rotation.reports import (
    Advice,
    Exemption,
    KeyFacts,
    ReportPolicy,
    UnusedPolicy,
    cis,
    decide_unused,
    old,
    stale,
    verdict,
    who,
)
from keyturn.rotation.usage import DAY, HOUR, UsageHistory

NOW = 1_790_000_000_000


def key_id(number: int) -> AccessKeyId:
    return AccessKeyId(f"AKIAEXAMPLE{number:09d}".replace("0", "A").replace("1", "B")[:20])


def used(days: float) -> LastUse:
    return Used(NOW - int(days * DAY), "s3", "eu-west-1")


def facts(
    age: float,
    last_use: LastUse,
    *,
    user: str = "ci",
    number: int = 2,
    active: bool = True,
    history: UsageHistory | None = None,
) -> KeyFacts:
    status = AccessKeyStatus.ACTIVE if active else AccessKeyStatus.INACTIVE
    key = UserKey(key_id(number), status, NOW - int(age * DAY))
    return KeyFacts(user, key, last_use, history=history or UsageHistory())


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (facts(112, used(0)), "rotate (over 90d)"),
        (facts(203, used(97), active=False), "delete (unused 97d)"),
        (facts(12, NeverSeen()), "ok (new)"),
        (facts(60, NeverSeen()), "ok (never used)"),
        (facts(120, NeverSeen()), "deactivate (never used in 120d)"),
        (facts(120, used(97)), "deactivate (unused 97d)"),
        (facts(60, used(1)), "ok"),
        (facts(60, Unknown("Throttling")), "look (last use unknown)"),
        (facts(112, Unknown("Throttling")), "rotate (over 90d)"),
        (facts(203, Unknown("Throttling"), active=False), "look (last use unknown)"),
        (facts(60, used(1), active=False), "ok (inactive)"),
        (
            facts(388, used(23), history=UsageHistory.of([], range(NOW - 364 * DAY, NOW, 31 * DAY))),
            "rotate, wait 62d (monthly use)",
        ),
        (
            facts(388, used(1), history=UsageHistory.of([], range(NOW - 364 * DAY, NOW, 7 * DAY))),
            "rotate, wait 35d (weekly use)",
        ),
    ],
)
def test_each_key_has_its_verdict(key: KeyFacts, text: str) -> None:
    assert verdict(key, NOW).text == text


# 28. Keys that only look unused


def test_row_28_a_fresh_key_that_nobody_has_picked_up_yet_is_not_stale() -> None:
    week = ReportPolicy(unused_ms=7 * DAY)
    assert stale([facts(10, NeverSeen())], NOW, week) == []
    assert len(stale([facts(15, NeverSeen())], NOW, week)) == 1


def test_row_28_an_unknown_last_use_is_not_stale() -> None:
    assert stale([facts(800, Unknown("Throttling"))], NOW) == []
    (told,) = cis([facts(50, Unknown("Throttling"))], NOW)
    assert told.text == "not decided: its last use is unknown"


def test_row_28_an_exemption_has_an_owner_and_an_end() -> None:
    drill = facts(120, NeverSeen(), user="dr")
    by_user = Exemption("ops@example.com", NOW + DAY, user_name="dr")
    policy = ReportPolicy(exemptions=(by_user,))
    assert verdict(drill, NOW, policy).text == "exempt until 2026-09-22 (ops@example.com)"
    assert verdict(drill, NOW + DAY, policy).advice is Advice.DEACTIVATE
    assert verdict(facts(120, NeverSeen(), user="ci"), NOW, policy).advice is Advice.DEACTIVATE
    (found,) = stale([drill], NOW, policy)
    assert found.exemption == by_user, "it is told, and so is why it may stay"


def test_row_28_an_exemption_of_a_key_is_not_one_of_its_user() -> None:
    policy = ReportPolicy(exemptions=(Exemption("ana", NOW + DAY, user_name="ci", access_key_id=key_id(2)),))
    assert verdict(facts(120, used(1), number=2), NOW, policy).advice is Advice.EXEMPT
    assert verdict(facts(120, used(1), number=3), NOW, policy).advice is Advice.ROTATE


def test_row_28_an_exemption_hides_nothing_that_is_well() -> None:
    policy = ReportPolicy(exemptions=(Exemption("ana", NOW + DAY, user_name="ci"),))
    assert verdict(facts(5, used(1)), NOW, policy).advice is Advice.OK


# 29. Clocks and zones


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "US/Eastern")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
def test_row_29_ages_are_the_same_in_every_zone_and_days_are_utc() -> None:
    summer_time_ends = 1_793_511_600_000 + HOUR
    key = KeyFacts("ci", UserKey(key_id(2), AccessKeyStatus.ACTIVE, summer_time_ends - 90 * DAY), used(0))
    assert len(old([key], summer_time_ends)) == 1
    assert old([key], summer_time_ends - 1) == []
    policy = ReportPolicy(exemptions=(Exemption("ana", 1_790_035_200_000, user_name="ci"),))
    assert "until 2026-09-22" in verdict(facts(100, used(1)), NOW, policy).text


def test_row_29_a_key_from_the_future_is_new_and_not_of_a_negative_age() -> None:
    assert verdict(facts(-1, NeverSeen()), NOW).text == "ok (new)"
    assert verdict(facts(1, used(-1)), NOW).text == "ok"


# The reports


def test_stale_means_ninety_days_and_the_longest_unused_comes_first() -> None:
    keys = [
        facts(200, used(89.9), number=2),
        facts(200, used(90), number=3),
        facts(300, used(250), number=4, active=False),
        facts(400, NeverSeen(), number=5),
    ]
    assert [each.facts.key.access_key_id for each in stale(keys, NOW)] == [key_id(5), key_id(4), key_id(3)]
    assert [each.text for each in stale(keys, NOW)] == [
        "never used in 400d",
        "unused for 250d",
        "unused for 90d",
    ]


def test_age_counts_active_keys_and_the_oldest_comes_first() -> None:
    keys = [
        facts(90, used(1)),
        facts(500, used(1), active=False),
        facts(120, used(1), number=3),
        facts(89, used(1)),
    ]
    assert [each.text for each in old(keys, NOW)] == ["120d old", "90d old"]


def controls(keys: Sequence[KeyFacts]) -> list[str]:
    return [each.control for each in cis(keys, NOW)]


def test_the_numbers_of_the_benchmark_are_its_own() -> None:
    assert controls([facts(44, used(44))]) == []
    assert controls([facts(60, used(45))]) == ["CIS 1.12"]
    assert controls([facts(45, NeverSeen())]) == ["CIS 1.12"]
    assert controls([facts(90, used(1))]) == [], "90 days or less"
    assert controls([facts(91, used(1))]) == ["CIS 1.14"]
    both = [facts(5, used(1), number=2), facts(6, used(1), number=3)]
    assert controls(both) == ["CIS 1.13", "CIS 1.13"]
    assert controls([both[0], facts(6, used(1), number=3, active=False)]) == []
    assert controls([both[0], facts(6, used(1), number=3, user="other")]) == []
    assert controls([facts(400, used(300), active=False)]) == []


# Deactivating what nobody uses

POLICY = UnusedPolicy(after_ms=60 * DAY, notice_ms=7 * DAY)


def decided(key: KeyFacts, noticed_days_ago: float | None = None, policy: UnusedPolicy = POLICY) -> str:
    notices = {} if noticed_days_ago is None else {key.key.access_key_id: NOW - int(noticed_days_ago * DAY)}
    decision = decide_unused([key], notices, policy, NOW, signing=key_id(9))
    said = [
        word
        for word, keys in (
            ("notify", decision.to_notify),
            ("deactivate", decision.to_deactivate),
            ("withdraw", decision.to_withdraw),
        )
        if keys
    ]
    assert len(said) < 2
    return said[0] if said else "leave"


def test_a_key_is_announced_before_it_is_deactivated() -> None:
    assert decided(facts(200, used(52))) == "leave"
    assert decided(facts(200, used(53))) == "notify"
    assert decided(facts(200, used(53)), 1) == "leave"
    assert decided(facts(200, used(60)), 7) == "deactivate"
    assert decided(facts(200, used(60)), 6.9) == "leave", "the whole notice"
    assert decided(facts(200, used(59.9)), 7) == "leave"
    assert decided(facts(900, used(800))) == "notify", "however long it is overdue"
    assert decided(facts(61, NeverSeen()), 7) == "deactivate"


def test_a_key_that_is_used_after_its_notice_is_left_alone_and_the_notice_withdrawn() -> None:
    assert decided(facts(200, used(1)), 7) == "withdraw"
    long_notice = UnusedPolicy(after_ms=2 * DAY, notice_ms=7 * DAY)
    assert decided(facts(200, used(3)), 8, long_notice) == "withdraw"


def test_an_unknown_last_use_decides_nothing_and_keeps_the_notice() -> None:
    assert decided(facts(900, Unknown("Throttling"))) == "leave"
    assert decided(facts(900, Unknown("Throttling")), 30) == "leave"


def test_the_key_that_signs_an_inactive_and_an_exempt_key_are_never_deactivated() -> None:
    assert decided(facts(900, used(800), number=9), 30) == "withdraw"
    assert decided(facts(900, used(800), active=False), 30) == "withdraw"
    exempt = UnusedPolicy(after_ms=60 * DAY, exemptions=(Exemption("ana", NOW + 1, user_name="ci"),))
    assert decided(facts(900, used(800)), 30, exempt) == "withdraw"
    assert decided(facts(900, used(800)), None, exempt) == "leave"


def test_who_uses_a_key_fits_in_a_few_words() -> None:
    def consumer(source: str, agent: str, *, is_refused: bool = False) -> Consumer:
        return Consumer(source, agent, "s3", "GetObject", NOW, 1, is_refused)

    assert who(None) == "?"
    assert who([]) == "-"
    assert who([consumer("203.0.113.5", "curl", is_refused=True)]) == "-"
    one = consumer("20.1.4.9", "aws-cli/2.17 md/linux")
    assert who([one]) == "20.1.4.9 (aws-cli/2.17)"
    assert who([one, one, consumer("10.2.0.7", "")]) == "20.1.4.9 (aws-cli/2.17) and 1 more"
    assert who([consumer("cloudformation.amazonaws.com", "")]) == "cloudformation.amazonaws.com"
