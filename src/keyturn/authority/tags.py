"""Tags: pairs of key and value, at most fifty (IAM user guide, "Tagging IAM resources").

Keys of users are unique without regard to case, keys of managed policies with regard to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from keyturn.authority.operations import Result
from keyturn.authority.storage.tags import Tag, fold
from keyturn.wire.faults import invalid_input, limit_exceeded

MOST_TAGS: Final = 50


def tag_pairs(tags: Sequence[Result]) -> list[Tag]:
    return [(tag["Key"], tag["Value"]) for tag in tags]


def tag_list(tags: Iterable[Tag]) -> list[Result]:
    return [{"Key": key, "Value": value} for key, value in tags]


def check_new_tags(
    tags: Sequence[Result], existing: Iterable[Tag] = (), *, case_counts: bool = False
) -> list[Tag]:
    """The new tags as pairs, if their keys differ and all together are not too many."""
    pairs = tag_pairs(tags)
    same = str if case_counts else fold
    keys = {same(key) for key, _value in pairs}
    if len(keys) < len(pairs):
        note = "" if case_counts else " Please note that Tag keys are case insensitive."
        raise invalid_input(f"Duplicate tag keys found.{note}")
    if len(keys | {same(key) for key, _value in existing}) > MOST_TAGS:
        raise limit_exceeded("The number of tags has reached the maximum limit.")
    return pairs
