"""What the detector finds in planted files, what it leaves alone, and how much work hostile ones make."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

import pytest

from keyturn.leaks.detector import MAX_DETECTIONS, _Search, detect
from keyturn.leaks.findings import Verdict
from keyturn.leaks.views import Budget
from leaks.corpus import Maker, Planted, planted

HARD: Final = (
    "concatenation",
    "spelling: base64 twice",
    "spelling: base64 of hex",
    "spelling: hex of base64",
)


def pairs_in(data: bytes) -> frozenset[tuple[str, str]]:
    return frozenset(
        (str(one.access_key_id), one.secret.reveal().decode())
        for one in detect(data)
        if one.secret is not None
    )


def recall(files: list[Planted]) -> float:
    found = sum(len(pairs_in(one.content) & one.pairs) for one in files)
    return found / sum(len(one.pairs) for one in files)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nearly_every_planted_pair_is_found_and_no_other(seed: int) -> None:
    found = [(one, pairs_in(one.content)) for one in planted(seed)]
    held = sum(len(one.pairs) for one, _ in found)
    assert sum(len(pairs & one.pairs) for one, pairs in found) / held >= 0.99
    assert [(one.how, pairs - one.pairs) for one, pairs in found if pairs - one.pairs] == []


def test_the_hardest_places_give_their_pairs_too() -> None:
    assert recall([one for one in planted(11) if one.how.startswith(HARD)]) >= 0.97


def test_every_planted_id_is_found() -> None:
    for one in planted(5):
        assert one.ids <= {str(found.access_key_id) for found in detect(one.content)}, one.how


def test_all_files_in_a_row_give_the_same_pairs_as_a_window_that_says_where_it_begins() -> None:
    pair = Maker(3).pair()
    text = f"# one\n\nAWS_ACCESS_KEY_ID={pair.id}\nAWS_SECRET_ACCESS_KEY={pair.secret}\n".encode()
    (found,) = detect(text, first_line=100, starts_at=5_000)
    assert (found.line, found.offset, found.encoding) == (102, 5_000 + text.index(b"AKIA"), None)


def test_an_encoded_pair_says_how_it_was_written_and_where_it_began() -> None:
    pair = Maker(4).pair()
    inner = base64.b64encode(base64.b64encode(f"{pair.id}:{pair.secret}".encode()))
    (found,) = detect(b"\n\n  auth: " + inner + b"\n")
    assert found.encoding == "base64+base64"
    assert found.line == 3


@pytest.mark.parametrize("comment", ["# keyturn:allow", "// gitleaks:allow", "# pragma: allowlist secret"])
def test_a_comment_on_the_line_allows_what_stands_there(comment: str) -> None:
    first, second = detect(f"id={Maker(1).id()} {comment}\nid={Maker(2).id()}\n".encode())
    assert (first.is_allowed, second.is_allowed) == (True, False)


def test_documentation_and_placeholders_are_named_as_such_and_never_a_pair() -> None:
    found = detect(
        b'a = "AKIAIOSFODNN7EXAMPLE"\nb = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"\nc = "AKIAXXXXXXXXXXXXXXXX"\n'
    )
    assert [one.verdict for one in found] == [Verdict.DOCUMENTATION, Verdict.PLACEHOLDER]
    assert all(one.secret is None for one in found)


def test_a_real_id_beside_the_documented_secret_is_an_id_alone() -> None:
    (found,) = detect(
        f"aws_access_key_id={Maker(1).id()}\naws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".encode()
    )
    assert found.secret is None
    assert found.verdict is Verdict.UNVERIFIED


def test_a_pair_that_stands_there_twice_is_told_once() -> None:
    pair = Maker(8).pair()
    assert len(detect(f"key={pair.id}\nsecret={pair.secret}\n".encode() * 5)) == 1


def test_no_more_than_two_thousand_are_told_of_one_content() -> None:
    maker = Maker(1)
    assert len(detect("\n".join(maker.id() for _ in range(2_100)).encode())) == MAX_DETECTIONS


@pytest.mark.parametrize("buffer", [bytearray, memoryview])
def test_any_buffer_is_taken(buffer: Callable[[bytes], bytearray | memoryview]) -> None:
    assert len(detect(buffer(f"id={Maker(1).id()}".encode()))) == 1


HOSTILE: Final[dict[str, bytes]] = {
    "prefixes": b"AKIA",
    "prefixes in quotes": b'"AKIA',
    "base64 of prefixes": b"QUtJQUFB",
    "base64 of prefixes, a line each": b"QUtJQUFB\n",
    "hex": b"414b4941",
    "hex with blanks": b"41 4b 49 41 ",
    "escapes": b"\\x41\\x4b\\x49\\x41",
    "percent": b"%41%4b%49%41",
    "numbers": b"65,75,73,65,",
    "NULs": b"A\0K\0I\0A\0",
    "joined": b'AKIAABCDEF"+"',
    "dump": b"00000000: 414b 4941 4142 4344  AKIAABCD\n",
    "quotes": b"AKIAB\"'\"'\"'",
}


@pytest.mark.parametrize("how", HOSTILE)
def test_work_grows_with_the_size_of_hostile_content_and_no_faster(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in decoded and rewritten bytes: what costs time is charged to the budget."""
    budgets: list[tuple[int, Budget]] = []

    def search(budget: Budget) -> _Search:
        budgets.append((budget.left, budget))
        return _Search(budget)

    monkeypatch.setattr("keyturn.leaks.detector._Search", search)
    for size in (50_000, 200_000):
        detect((HOSTILE[how] * (size // len(HOSTILE[how]) + 1))[:size])
    work = [before - budget.left for before, budget in budgets] or [0, 0]
    assert work[-1] <= 5 * max(work[0], 60_000)


def test_content_without_a_prefix_is_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyturn.leaks.detector.views_of", None)
    assert detect(b"A" * 1_000_000) == []
    assert detect(base64.b64encode(Maker(1).random.randbytes(100_000))) == []


def test_whoever_asks_is_told_when_there_were_more_keys_than_are_told() -> None:
    maker = Maker(1)
    reasons: list[str] = []
    detect("\n".join(maker.id() for _ in range(2_100)).encode(), cut=reasons.append)
    assert reasons == ["more than 2000 keys in one piece: the rest was left out"]


def test_whoever_asks_is_told_when_decoding_was_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyturn.leaks.detector._Search", lambda _budget: _Search(Budget(10)))
    reasons: list[str] = []
    detect(b"auth: " + base64.b64encode(f"{Maker(1).id()}:x".encode()), cut=reasons.append)
    assert reasons == ["so much of it is encoded that not all was decoded"]


def test_ordinary_content_is_not_called_cut() -> None:
    reasons: list[str] = []
    pair = Maker(1).pair()
    detect(f"id={pair.id}\nsecret={pair.secret}\n".encode(), cut=reasons.append)
    assert reasons == []


def test_secrets_in_lines_of_base64_beside_an_id_are_none() -> None:
    maker = Maker(1)
    lines = "\n".join(maker.secret() for _ in range(20))
    assert pairs_in(f"access key {maker.id()}\n{lines}\n".encode()) == frozenset()


def test_a_list_of_ids_and_one_of_as_many_secrets_are_pairs_all_the_same() -> None:
    maker = Maker(1)
    ids, secrets = [maker.id() for _ in range(3)], [maker.secret() for _ in range(3)]
    text = "keys:\n" + "\n".join(ids) + "\nsecrets:\n" + "\n".join(secrets) + "\n"
    assert pairs_in(text.encode()) == frozenset(zip(ids, secrets, strict=True))
