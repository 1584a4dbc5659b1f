"""What is one finding and not two, what is left out, and what is counted."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest

from keyturn.leaks.baseline import Baseline, read_baseline, write_baseline
from keyturn.leaks.containers.unpack import Unpacker
from keyturn.leaks.detector import detect
from keyturn.leaks.findings import Detection, Finding, Kind, Place, Skipped, Verdict
from keyturn.leaks.prefilter import Prefilter
from keyturn.leaks.scan import Scan, ScanResult
from keyturn.leaks.sources.interface import Buffer, Content, MayHold, Report, SourceError
from keyturn.model.errors import KeyturnError
from leaks.archive_corpus import ACCOUNT, environment_of, new_key, tarred, zipped

_CHANCE = Random(11)  # noqa: S311 - it seeds a corpus
KEY, OTHER = new_key(_CHANCE), new_key(_CHANCE)
PAIR = environment_of(KEY)
ID = f"key: {KEY.access_key_id}\n".encode()
PREFILTER = Prefilter()


@dataclass
class Given:
    """A source of what a test gives it."""

    files: dict[str, bytes]
    dates: dict[str, str] = field(default_factory=dict)
    skips: Sequence[str] = ()
    asked: list[Place] | None = None
    name: str = "given"

    def contents(self, _may_hold: MayHold, report: Report) -> Iterator[Content]:
        for path, data in self.files.items():
            report.advanced(len(data), None)
            yield Content(Place(self.name, object=path), data)
        for reason in self.skips:
            report.skipped(Skipped(Place(self.name), reason))

    def located(self, places: Sequence[Place]) -> Sequence[Place]:
        self.asked = list(places)
        return [replace(each, path=each.object, date=self.dates.get(each.object or "")) for each in places]


def scanned(*sources: Given, **settings: object) -> ScanResult:
    unpacker = Unpacker(PREFILTER.has_prefix)
    return Scan(PREFILTER.may_hold, detect, unpacker, **settings).run(sources)  # type: ignore[arg-type]  # each test gives what it means


def told(result: ScanResult) -> list[tuple[str, str, str | None]]:
    return [(each.kind.value, each.access_key_id, each.place.member) for each in result.findings]


def test_a_finding_says_what_it_is_whose_and_where() -> None:
    (found,) = scanned(Given({"a.env": PAIR})).findings
    assert found.kind is Kind.PAIR
    assert found.access_key_id == KEY.access_key_id
    assert found.account_id == ACCOUNT
    assert found.pair is not None
    assert found.fingerprint == found.pair.fingerprint
    assert found.pair.secret == KEY.secret
    assert (found.place.path, found.line, found.encoding) == ("a.env", 2, None)
    assert found.verdict is Verdict.UNVERIFIED


def test_a_pair_in_an_archive_that_shows_in_the_archive_s_own_bytes_too_is_one_finding() -> None:
    import zipfile

    stored = zipped(PAIR, method=zipfile.ZIP_STORED)
    assert told(scanned(Given({"a.zip": stored}))) == [("pair", KEY.access_key_id, "conf/app.env")]


def test_the_same_pair_in_two_members_and_in_two_files_is_found_in_each() -> None:
    both = tarred(zipped(PAIR), "a.zip")
    result = scanned(Given({"x.tar": both, "y.env": PAIR}))
    assert told(result) == [
        ("pair", KEY.access_key_id, "a.zip!/conf/app.env"),
        ("pair", KEY.access_key_id, None),
    ]


def test_an_id_beside_its_pair_is_not_told_again_and_one_elsewhere_is() -> None:
    result = scanned(Given({"a.env": PAIR + b"\n" * 40 + ID, "b.txt": ID}), include_ids=True)
    assert [(each.kind.value, each.place.path) for each in result.findings] == [
        ("pair", "a.env"),
        ("id", "b.txt"),
    ]


def test_ids_alone_are_counted_and_not_told_unless_they_are_asked_for() -> None:
    result = scanned(Given({"b.txt": ID}))
    assert (result.findings, result.ids, result.leaks) == ((), 1, 0)


def test_a_comment_accepts_what_stands_on_its_line_and_nothing_else() -> None:
    line = f"{KEY.access_key_id} {KEY.secret.reveal().decode()}  # keyturn:allow\n".encode()
    result = scanned(Given({"a.env": line, "b.env": environment_of(OTHER)}))
    assert told(result) == [("pair", OTHER.access_key_id, None)]
    assert result.allowed == 1


def test_our_own_accounts_are_recognised() -> None:
    result = scanned(Given({"a.env": PAIR}), ours=frozenset({ACCOUNT}))
    assert result.is_ours(result.findings[0])
    assert not scanned(Given({"a.env": PAIR})).is_ours(result.findings[0])


def test_what_older_commits_brought_is_left_out_and_what_has_no_date_stays() -> None:
    dates = {"old": "2025-12-31T23:59:59Z", "new": "2026-01-01T00:00:00Z"}
    files = {"old": PAIR, "new": PAIR, "undated": PAIR}
    result = scanned(Given(files, dates), since="2026-01-01T00:00:00Z")
    assert [each.place.path for each in result.findings] == ["new", "undated"]


def test_a_source_is_asked_for_places_once_also_if_nothing_was_found() -> None:
    source = Given({"a.txt": b"nothing"})
    scanned(source)
    assert source.asked == []


def test_where_something_was_skipped_is_asked_for_too_so_that_a_source_with_a_memory_tells_it_again() -> None:
    source = Given({"a.7z": b"7z\xbc\xaf\x27\x1c" + bytes(80)})
    result = scanned(source)
    assert source.asked == [Place("given", object="a.7z")]
    assert [(each.place.path, each.reason) for each in result.skipped] == [
        ("a.7z", "7z archives are not unpacked")
    ]


def test_the_judge_is_asked_about_what_nobody_has_judged() -> None:
    asked: list[str] = []

    def judge(finding: Finding) -> Verdict:
        asked.append(finding.access_key_id)
        return Verdict.LIVE

    example = b"aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n"
    result = scanned(Given({"a.env": PAIR, "b.md": example}), judge=judge, include_ids=True)
    assert asked == [KEY.access_key_id]
    assert {each.place.path: each.verdict for each in result.findings} == {
        "a.env": Verdict.LIVE,
        "b.md": Verdict.DOCUMENTATION,
    }
    assert result.leaks == 1


def test_a_thousand_reasons_are_kept_and_a_million_are_counted() -> None:
    result = scanned(Given({}, skips=[f"reason {number}" for number in range(20_000)]))
    assert (len(result.skipped), result.skipped_in_all) == (10_000, 20_000)


def test_many_ids_in_one_file_cost_no_more_than_their_number() -> None:
    ids = [new_key(_CHANCE).access_key_id for _ in range(50_000)]

    def seen(_data: Buffer, *, first_line: int, starts_at: int, cut: object) -> list[Detection]:
        assert cut
        return [Detection(each, None, starts_at, first_line + n, None) for n, each in enumerate(ids)]

    scan = Scan(PREFILTER.may_hold, seen, Unpacker(PREFILTER.has_prefix))
    assert scan.run([Given({"ids.txt": PAIR})]).ids == len(set(ids))


def test_what_the_detector_leaves_out_is_told_and_the_scan_is_not_clean() -> None:
    def cutting(
        _data: Buffer, *, first_line: int, starts_at: int, cut: Callable[[str], None]
    ) -> list[Detection]:
        cut(f"line {first_line}, byte {starts_at}: too much")
        return []

    scan = Scan(PREFILTER.may_hold, cutting, Unpacker(PREFILTER.has_prefix))
    (skipped,) = scan.run([Given({"ids.txt": PAIR})]).skipped
    assert (skipped.place.path, skipped.reason) == ("ids.txt", "line 1, byte 0: too much")


def test_only_keys_that_are_told_are_located_and_judged() -> None:
    alone = new_key(_CHANCE).access_key_id.encode()
    located: list[str | None] = []
    asked: list[str] = []

    class Locating(Given):
        def located(self, places: Sequence[Place]) -> Sequence[Place]:
            located.extend(place.object for place in places)
            return places

    def judge(finding: Finding) -> Verdict:
        asked.append(finding.access_key_id)
        return Verdict.LIVE

    assert scanned(Locating({"a.env": PAIR, "b.txt": alone}), judge=judge).ids == 1
    assert (located, asked) == (["a.env"], [KEY.access_key_id])


def test_nothing_but_sources_that_can_not_be_read_is_an_error() -> None:
    class Nothing(Given):
        def contents(self, _may_hold: MayHold, _report: Report) -> Iterator[Content]:
            raise SourceError("there is nothing")

    with pytest.raises(SourceError, match="there is nothing"):
        scanned(Nothing({}))
    assert scanned(Nothing({}), Given({"a.env": PAIR})).leaks == 1


# The baseline


def test_what_a_baseline_accepts_is_not_told_and_what_is_new_is(tmp_path: Path) -> None:
    path = tmp_path / "keys.baseline"
    before = scanned(Given({"a.env": PAIR, "b.txt": ID}), include_ids=True)
    assert write_baseline(path, before.findings) == 2
    after = scanned(
        Given({"moved.env": PAIR, "b.txt": ID, "c.txt": ID, "d.env": environment_of(OTHER)}),
        include_ids=True,
        baseline=read_baseline(path),
    )
    assert [(each.kind.value, each.place.path) for each in after.findings] == [
        ("id", "c.txt"),
        ("pair", "d.env"),
    ]
    assert after.accepted == 2


def test_a_baseline_holds_no_secret_and_comes_out_the_same_in_any_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    findings = scanned(Given({"a": PAIR, "b": environment_of(OTHER), "c": ID}), include_ids=True).findings
    write_baseline(one, findings)
    write_baseline(two, findings[::-1])
    assert one.read_bytes() == two.read_bytes()
    for key in (KEY, OTHER):
        assert key.secret.reveal() not in one.read_bytes()
    assert stat.S_IMODE(one.stat().st_mode) == 0o644
    assert sorted(each.name for each in tmp_path.iterdir()) == ["one", "two"]


def test_a_scan_that_meets_its_own_baseline_finds_nothing_in_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.baseline"
    write_baseline(path, scanned(Given({"a": PAIR, "c": ID}), include_ids=True).findings)
    result = scanned(Given({"keys.baseline": path.read_bytes()}), include_ids=True)
    assert result.findings == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"keyturn_baseline": 2, "accepted": []}',
        '{"keyturn_baseline": 1}',
        '{"keyturn_baseline": 1, "accepted": [7]}',
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    with pytest.raises(KeyturnError, match="is no baseline"):
        read_baseline(path)
    with pytest.raises(KeyturnError, match="can't read the baseline"):
        read_baseline(tmp_path / "nothing")


def test_an_empty_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_baseline(tmp_path / "x", [])
    assert json.loads((tmp_path / "x").read_text()) == {"keyturn_baseline": 1, "accepted": []}
    assert read_baseline(tmp_path / "x") == Baseline()
