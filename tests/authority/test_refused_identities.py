"""Who can be refused without a key of ours writes only so much, and what is left out is counted."""

from __future__ import annotations

from keyturn.authority.refused_identities import (
    MOST_OF_ONE,
    MOST_RECORDS,
    WINDOW_MS,
    Folded,
    RefusedIdentities,
)

START = 1_700_000_000_000


def test_one_subject_gets_a_few_records_a_minute_and_others_get_theirs() -> None:
    refused = RefusedIdentities()
    recorded = [refused.may_be_recorded("noisy", START + number) for number in range(MOST_OF_ONE + 5)]
    assert recorded == [True] * MOST_OF_ONE + [False] * 5
    assert refused.may_be_recorded("other", START + 100)
    assert refused.may_be_recorded("noisy", START + WINDOW_MS), "in the next minute"


def test_many_subjects_together_get_no_more_than_the_minute_has() -> None:
    refused = RefusedIdentities()
    recorded = [refused.may_be_recorded(f"subject-{number}", START) for number in range(10_000)]
    assert sum(recorded) == MOST_RECORDS
    assert refused.due(START + WINDOW_MS) == Folded(10_000 - MOST_RECORDS, START, START)


def test_the_count_is_due_once_its_minute_is_over_and_at_the_end() -> None:
    refused = RefusedIdentities()
    assert refused.due(START, is_last=True) is None
    for number in range(MOST_OF_ONE + 3):
        refused.may_be_recorded("noisy", START + number)
    folded = Folded(3, START + MOST_OF_ONE, START + MOST_OF_ONE + 2)
    assert refused.due(START + 1000) is None
    assert refused.due(START + 1000, is_last=True) == folded
    refused.may_be_recorded("noisy", START + 2000)
    refused.settled(folded)
    assert refused.due(START, is_last=True) == Folded(1, START + MOST_OF_ONE + 2, START + 2000)
    refused.settled(Folded(1, START, START))
    assert refused.due(START + 10 * WINDOW_MS) is None


def test_a_clock_that_was_set_back_begins_a_new_minute() -> None:
    refused = RefusedIdentities()
    for _ in range(MOST_OF_ONE + 1):
        refused.may_be_recorded("noisy", START)
    assert refused.may_be_recorded("noisy", START - 1)
