"""The pack reader gives what git gives, whatever the pack looks like, and survives what git would not write."""

from __future__ import annotations

import hashlib
import importlib
import os
import random
import re
import struct
import sysconfig
import tracemalloc
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from dulwich.pack import create_delta
from hypothesis import given
from hypothesis import strategies as st

from keyturn.leaks import prefilter
from keyturn.leaks.git import pack as pack_module
from keyturn.leaks.git.additions import BEGINNING, REACH, additions
from keyturn.leaks.git.inflate import DamagedError, inflate
from keyturn.leaks.git.objects import GitObject
from keyturn.leaks.git.pack import LARGEST, Leftovers, Pack
from keyturn.leaks.git.pack_index import PackIndex
from real_git import KEY, Repository, as_git_says, history, may_hold

Entry = tuple[bytes, bytes]
"""An id and an entry's bytes as they stand in a pack."""


def edited(data: bytes, chance: random.Random) -> bytes:
    """As people edit: lines go, come, and now and then a key."""
    lines = data.split(b"\n")
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(lines))
        lines[at : at + chance.randint(0, 3)] = [
            b"%d" % chance.getrandbits(60) for _ in range(chance.randint(0, 3))
        ]
    if chance.random() < 0.08:
        at = chance.randrange(len(lines))
        lines[at] += b" AKIA" + bytes(chance.choices(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", k=16))
    return b"\n".join(lines) or b"\n"


@pytest.fixture(scope="module")
def real_history(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Sixty files of installed packages and six hundred edits of them, a key in some, from a seed."""
    repository = Repository(tmp_path_factory.mktemp("real") / "repository")
    chance = random.Random(20)  # noqa: S311 -- a history that can be made again
    root = Path(sysconfig.get_paths()["purelib"])
    paths = [path for path in sorted(root.rglob("*.py")) if 4_000 < path.stat().st_size < 120_000]
    files = {
        f"{number}.py": path.read_bytes()
        for number, path in enumerate(paths[:: max(1, len(paths) // 60)][:60])
    }
    stream = []
    for number in range(120):
        message = b"change %d" % number + (b" " + KEY.encode() if number % 40 == 7 else b"")
        stream.append(
            b"commit refs/heads/main\ncommitter A <a@example.com> %d +0000\ndata %d\n%s\n"
            % (1_700_000_000 + number, len(message), message)
        )
        names = list(files) if not number else chance.sample(list(files), 5)
        for name in names:
            files[name] = edited(files[name], chance) if number else files[name]
            stream.append(
                b"M 100644 inline %s\ndata %d\n%s\n" % (name.encode(), len(files[name]), files[name])
            )
    repository.git("fast-import", "--quiet", stdin=b"".join(stream))
    return repository


@pytest.mark.parametrize(
    "options",
    [
        ("--depth=1", "--window=2"),
        ("--depth=50", "--window=10"),
        ("--depth=4000", "--window=30"),
        ("--write-bitmap-index",),
        ("--write-midx",),
    ],
    ids=" ".join,
)
def test_a_real_history_gives_the_same_objects_as_git_and_none_is_missing(
    real_history: Repository, options: Sequence[str]
) -> None:
    real_history.pack(*options)
    found = history(real_history.path)
    expected = as_git_says(real_history)
    assert len(expected) > 20
    assert found.objects == expected
    assert found.report.skips == []
    assert all(place.commit for place in found.places)


def test_searching_only_what_deltas_add_finds_what_a_full_search_finds(
    real_history: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_history.pack("--depth=50", "--window=10")
    monkeypatch.setattr(pack_module, "is_worth_reading", lambda *_: True)
    windows = history(real_history.path).objects
    monkeypatch.setattr(pack_module, "is_worth_reading", lambda *_: False)
    assert windows == history(real_history.path).objects == as_git_says(real_history)


def test_bases_that_were_let_go_are_made_again(
    real_history: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_history.pack("--depth=50", "--window=10")
    monkeypatch.setattr(pack_module, "HELD", 60_000)
    assert history(real_history.path).objects == as_git_says(real_history)


def test_packs_with_bases_by_name_and_an_index_of_the_first_version_are_read(
    real_history: Repository,
) -> None:
    real_history.git("config", "repack.useDeltaBaseOffset", "false")
    real_history.git("config", "pack.indexVersion", "1")
    try:
        pack = real_history.pack("--depth=50", "--window=10")
        assert pack.with_suffix(".idx").read_bytes()[:4] != b"\xfftOc"
        assert history(real_history.path).objects == as_git_says(real_history)
    finally:
        real_history.git("config", "repack.useDeltaBaseOffset", "true")
        real_history.git("config", "pack.indexVersion", "2")


def test_many_packs_and_loose_objects_are_searched_each_object_once(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    for number in range(4):
        repository.commit(f"{number}", **{f"f{number}": f"{KEY} {number}"})
        repository.git("repack", "-q")
    repository.git("repack", "-aq")  # without -d: everything lies twice
    repository.commit("loose", loose=f"{KEY} loose")
    found = history(repository.path)
    assert len(found.places) == 5
    assert found.objects == as_git_says(repository)


def test_a_pack_whose_index_is_gone_is_indexed_anew(real_history: Repository) -> None:
    pack = real_history.pack()
    expected = as_git_says(real_history)
    index = pack.with_suffix(".idx")
    data = index.read_bytes()
    index.unlink()
    try:
        found = history(real_history.path)
        assert found.objects == expected
    finally:
        index.write_bytes(data)


def damaged(real_history: Repository, tmp_path: Path) -> tuple[Repository, Path]:
    """A copy that a test may spoil, and its pack."""
    real_history.pack("--depth=50", "--window=10")
    real_history.git("clone", "-q", "--mirror", "--no-hardlinks", ".", str(tmp_path / "copy.git"))
    copy = object.__new__(Repository)
    copy.path, copy.second = tmp_path / "copy.git", real_history.second
    pack = next((tmp_path / "copy.git" / "objects" / "pack").glob("*.pack"))
    pack.chmod(0o600)
    return copy, pack


def test_flipped_bytes_cost_the_objects_they_hit_and_are_reported(
    real_history: Repository, tmp_path: Path
) -> None:
    expected = as_git_says(real_history)
    copy, pack = damaged(real_history, tmp_path)
    data = bytearray(pack.read_bytes())
    chance = random.Random(5)  # noqa: S311 -- damage that can be made again
    for _ in range(12):
        data[chance.randrange(len(data) // 2, len(data))] ^= 0xFF
    pack.write_bytes(data)
    found = history(copy.path)
    assert expected > found.objects or expected == found.objects
    assert len(found.objects) > len(expected) // 4
    assert any("can't be read" in reason for reason in found.report.reasons)


def test_a_truncated_pack_gives_what_is_left_of_it(real_history: Repository, tmp_path: Path) -> None:
    expected = as_git_says(real_history)
    copy, pack = damaged(real_history, tmp_path)
    data = pack.read_bytes()
    pack.write_bytes(data[: len(data) * 2 // 3])
    found = history(copy.path)
    assert found.objects
    assert found.objects < expected
    assert any("can't be read" in reason for reason in found.report.reasons)


@pytest.mark.parametrize("length", [0, 8, 1000, 5000])
def test_an_index_that_is_cut_short_is_made_again(
    real_history: Repository, tmp_path: Path, length: int
) -> None:
    copy, pack = damaged(real_history, tmp_path)
    index = pack.with_suffix(".idx")
    index.chmod(0o600)
    index.write_bytes(index.read_bytes()[:length])
    assert history(copy.path).objects == as_git_says(real_history)


def test_a_pack_that_is_no_pack_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("oops", a__txt=KEY)
    (repository.packs() / "pack-0000.pack").write_bytes(b"nonsense" * 100)
    (repository.packs() / "pack-0001.pack").write_bytes(b"")
    found = history(repository.path)
    assert found.only.path == "a.txt"
    assert len(found.report.reasons) == 2
    assert all(reason.startswith("the pack is damaged") for reason in found.report.reasons)


@pytest.mark.parametrize(
    "damage", [b"", b"x", b"\x78\x9c", zlib.compress(b"blob 9\0short"), zlib.compress(b"blob")]
)
def test_a_damaged_loose_object_is_reported_and_the_rest_goes_on(tmp_path: Path, damage: bytes) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("oops", a__txt=KEY, b__txt="b")
    blob = repository.git("rev-parse", "HEAD:b.txt")
    file = repository.path / ".git" / "objects" / blob[:2] / blob[2:]
    file.chmod(0o600)
    file.write_bytes(damage)
    found = history(repository.path)
    assert found.only.path == "a.txt"
    assert len(found.report.reasons) == 1
    assert blob in found.report.reasons[0]


def test_pipes_and_huge_indexes_in_a_repository_neither_hang_nor_fill_memory(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("oops", a__txt=KEY)
    pack = repository.pack()
    os.mkfifo(repository.packs() / "pack-1.pack")
    index = pack.with_suffix(".idx")
    index.chmod(0o600)
    os.truncate(index, 1 << 24)
    assert history(repository.path).objects


# What git would not write


@contextmanager
def no_more_memory_than(most: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def size_header(kind: int, size: int) -> bytes:
    first, size = kind << 4 | size & 15, size >> 4
    header = bytearray()
    while size:
        header.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    return bytes([*header, first])


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def name(number: int) -> bytes:
    return hashlib.sha1(b"%d" % number).digest()  # noqa: S324 -- a made-up object id


def whole(number: int, data: bytes, declared: int | None = None) -> Entry:
    return name(number), size_header(3, len(data) if declared is None else declared) + zlib.compress(data)


def on(number: int, base: int, delta: bytes, declared: int | None = None) -> Entry:
    head = size_header(7, len(delta) if declared is None else declared)
    return name(number), head + name(base) + zlib.compress(delta)


def copy_all(base: int, times: int, declared: int) -> bytes:
    """A delta that repeats the first megabytes of its base."""
    return varint(base) + varint(declared) + b"\xc0\xff" * 0 + b"\xf0\x00\x00\x10" * times


def written(directory: Path, entries: Sequence[Entry]) -> tuple[Path, PackIndex]:
    pack = b"PACK" + struct.pack(">II", 2, len(entries))
    offsets = {}
    for oid, data in entries:
        offsets[oid] = len(pack)
        pack += data
    trailer = hashlib.sha1(pack).digest()  # noqa: S324 -- as Git has it
    path = directory / "pack-1.pack"
    path.write_bytes(pack + trailer)
    oids = sorted(offsets)
    fanout = [sum(oid[0] <= byte for oid in oids) for byte in range(256)]
    index = b"\xfftOc" + struct.pack(">I", 2) + struct.pack(">256I", *fanout) + b"".join(oids)
    index += bytes(4 * len(oids)) + b"".join(struct.pack(">I", offsets[oid]) for oid in oids) + trailer
    path.with_suffix(".idx").write_bytes(index + hashlib.sha1(index).digest())  # noqa: S324 -- as Git has it
    return path, PackIndex(path.with_suffix(".idx"), 20)


def read(directory: Path, entries: Sequence[Entry]) -> tuple[list[GitObject], Leftovers]:
    path, index = written(directory, entries)
    leftovers = Leftovers()
    with Pack(path, index, 20) as pack:
        return list(pack.objects(may_hold, None, leftovers, lambda _: None)), leftovers


def test_deltas_in_a_circle_are_given_up_and_git_is_not_asked(tmp_path: Path) -> None:
    delta = varint(4) + varint(4) + b"\x04abcd"
    found, leftovers = read(
        tmp_path, [on(1, 2, delta), on(2, 3, delta), on(3, 1, delta), on(4, 4, delta), whole(5, KEY.encode())]
    )
    assert [each.oid for each in found] == [name(5)]
    assert set(leftovers.hopeless) == {name(1), name(2), name(3)}
    assert leftovers.elsewhere == [name(4)]


def test_circular_deltas_in_a_repository_are_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("oops", a__txt=KEY)
    delta = varint(4) + varint(4) + b"\x04abcd"
    written(repository.packs(), [on(1, 2, delta), on(2, 1, delta)])
    found = history(repository.path)
    assert found.only.path == "a.txt"
    assert "run in a circle" in found.report.reasons[0]


@pytest.mark.parametrize("declared", [1 << 40, (1 << 63) - 1, 1 << 70, 100, 0])
def test_a_size_that_is_not_true_is_damage_and_costs_no_memory(tmp_path: Path, declared: int) -> None:
    with no_more_memory_than(4 << 20):
        found, leftovers = read(tmp_path, [whole(1, b"x" * 50, declared), whole(2, KEY.encode())])
    assert [each.oid for each in found] == [name(2)]
    assert leftovers.elsewhere == [name(1)]


@pytest.mark.parametrize("declared", [1 << 40, 1 << 62, 1 << 70, 5])
def test_a_delta_that_promises_too_much_or_too_little_is_left(tmp_path: Path, declared: int) -> None:
    base = b"y" * (1 << 20)
    with no_more_memory_than(8 << 20):
        found, leftovers = read(
            tmp_path, [whole(1, base), on(2, 1, copy_all(len(base), 3, declared)), whole(3, KEY.encode())]
        )
    assert [each.oid for each in found] == [name(3)]
    assert leftovers.elsewhere == [name(2)]


def test_a_stream_that_grows_beyond_its_declared_size_is_stopped() -> None:
    deflater = zlib.compressobj(1)
    bomb = b"".join([deflater.compress(bytes(1 << 20)) for _ in range(200)]) + deflater.flush()
    with no_more_memory_than(24 << 20), pytest.raises(DamagedError):
        inflate(memoryview(bomb), 5 << 20)


def test_a_pack_that_unfolds_without_measure_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_module, "_LEAST_WORK", 32 << 20)
    monkeypatch.setattr(pack_module, "_MOST_GROWTH", 1)
    base = b"y" * (1 << 20)
    size = 8 << 20
    bombs = [on(number, 1, copy_all(len(base), 8, size)) for number in range(2, 40)]
    found, leftovers = read(tmp_path, [whole(1, base), *bombs])
    assert found == []
    assert leftovers.unsearched > 30


def test_an_object_too_large_to_hold_is_left_to_be_streamed_and_found_there(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("large", large__txt="0123456789abcde\n" * (LARGEST // 16 + 1) + KEY)
    repository.pack()
    found = history(repository.path)
    assert found.only.path == "large.txt"
    assert found.report.skips == []


def test_windows_of_a_streamed_object_tell_offset_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keyturn.leaks.git import cat_file

    monkeypatch.setattr(pack_module, "LARGEST", 1000)
    monkeypatch.setattr(cat_file, "WHOLE", 10_000)
    monkeypatch.setattr(cat_file, "WINDOW", 4096)
    monkeypatch.setattr(cat_file, "OVERLAP", 512)
    repository = Repository(tmp_path / "repository")
    text = "".join(f"line {number}\n" for number in range(1, 3000)) + f"{KEY}\n" + "tail\n" * 10
    repository.commit("large", large__txt=text)
    repository.pack()
    found = history(repository.path)
    for content in found.contents:
        at = bytes(content.data).index(KEY.encode())
        assert content.starts_at + at == text.index(KEY)
        assert content.first_line + bytes(content.data).count(b"\n", 0, at) == 3000


# What a delta adds


@given(
    before=st.integers(0, 4000),
    after=st.integers(0, 4000),
    cut=st.integers(1, 19),
    taken=st.integers(0, 30),
    seed=st.integers(0, 1 << 30),
)
def test_a_match_that_a_delta_makes_touches_what_it_adds(
    before: int, after: int, cut: int, taken: int, seed: int
) -> None:
    """A key in two halves stands in the base; the result joins them, or inserts one of them, or the whole."""
    chance = random.Random(seed)  # noqa: S311 -- text that can be made again
    head = bytes(chance.choices(b"abcdefgh \n", k=before + 64))
    tail = bytes(chance.choices(b"abcdefgh \n", k=after + 64))
    key = KEY.encode()
    between = bytes(chance.choices(b"stuvwxyz", k=taken))
    base = head + key[:cut] + b"#" + between + b"#" + key[cut:] + tail
    result = head + key + tail
    delta = b"".join(create_delta(base, result))
    assert not may_hold(base)
    assert may_hold(additions(delta, len(base), result))


def test_a_change_near_the_beginning_is_searched_from_the_beginning() -> None:
    base = bytes(range(256)) * 40
    for at in (0, 10, BEGINNING - 1):
        result = base[:at] + b"NEW" + base[at:]
        delta = b"".join(create_delta(base, result))
        assert additions(delta, len(base), result).startswith(result[: at + 3])
    result = base[:9000] + b"NEW" + base[9000:]
    delta = b"".join(create_delta(base, result))
    assert len(additions(delta, len(base), result)) < 4 * REACH


def test_an_unchanged_result_adds_nothing() -> None:
    base = b"abc" * 1000
    assert additions(b"".join(create_delta(base, base)), len(base), base) == b""


def test_no_spelling_that_is_searched_for_reaches_further_than_what_is_searched_around_an_addition() -> None:
    parser = importlib.import_module("re._parser")
    for pattern in prefilter._PATTERNS:
        assert parser.parse(pattern.expression, re.DOTALL).getwidth()[1] <= REACH
    for magic in prefilter.MAGICS:
        assert magic.offset + magic.within + len(magic.literal) <= BEGINNING
