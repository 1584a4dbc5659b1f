"""A Git history of real source code, made from what PyPI and npm have put on this machine, the same for one seed.

The text files of the checkout's environments are committed package by package; then commits edit them as people
do (lines go, come, move between files; large files change more often) until there is as much content as was asked
for. Key pairs are planted in
some revisions and taken out again in the next of that file.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ENDINGS = {
    ".py",
    ".js",
    ".ts",
    ".json",
    ".txt",
    ".yaml",
    ".yml",
    ".md",
    ".rst",
    ".html",
    ".c",
    ".h",
    ".toml",
    ".cfg",
}
LARGEST = 400_000
BODY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
SECRET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
AUTHOR = b"A Developer <developer@example.com>"


@dataclass(frozen=True, slots=True)
class Planted:
    access_key_id: str
    secret: str


def sources(roots: Sequence[Path], at_most: int) -> dict[str, bytes]:
    """Text files by their path, in a fixed order, each content once."""
    found: dict[str, bytes] = {}
    seen: set[bytes] = set()
    size = 0
    for root in roots:
        for path in sorted(root.rglob("*")):
            if path.suffix not in ENDINGS or not path.is_file() or path.is_symlink():
                continue
            data = path.read_bytes()
            if not data or len(data) > LARGEST or data in seen:
                continue
            seen.add(data)
            found[str(path.relative_to(root))] = data
            size += len(data)
            if size >= at_most:
                return found
    return found


def make(
    repository: Path, roots: Sequence[Path], content: int, base: int, planted: Sequence[Planted], seed: int
) -> None:
    """Blobs of `content` bytes in all, of which `base` are files as they are, in one pack."""
    chance = random.Random(seed)  # noqa: S311 -- a history that can be made again
    files = sources(roots, base)
    subprocess.run(["git", "init", "--quiet", "--bare", str(repository)], check=True)
    with subprocess.Popen(
        ["git", "-C", str(repository), "fast-import", "--quiet", "--date-format=raw"], stdin=subprocess.PIPE
    ) as importer:
        assert importer.stdin is not None
        for number, changes in enumerate(_commits(files, planted, content, chance)):
            second = 1_600_000_000 + number * 600
            lines = [b"commit refs/heads/main\ncommitter %s %d +0000\n" % (AUTHOR, second)]
            message = f"change {number}".encode()
            lines.append(b"data %d\n%s\n" % (len(message), message))
            for path, data in changes.items():
                lines.append(b"M 100644 inline %s\ndata %d\n" % (path.encode(), len(data)))
                lines.append(data + b"\n")
            importer.stdin.write(b"".join(lines) + b"\n")
        importer.stdin.close()
    if importer.returncode:
        sys.exit("git fast-import failed")
    subprocess.run(
        [
            "git",
            "-C",
            str(repository),
            "-c",
            "pack.threads=2",
            "repack",
            "-adfq",
            "--window=10",
            "--depth=50",
        ],
        check=True,
    )


def planted_pairs(many: int, seed: int) -> Sequence[Planted]:
    chance = random.Random(f"pairs {seed}")  # noqa: S311 -- made-up keys that can be made again
    return [_pair(chance) for _ in range(many)]


def content_of(repository: Path) -> int:
    """Bytes of all blobs."""
    sizes = subprocess.run(
        [
            "git",
            "-C",
            str(repository),
            "cat-file",
            "--batch-all-objects",
            "--batch-check=%(objecttype) %(objectsize)",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sum(int(line[5:]) for line in sizes.splitlines() if line.startswith("blob "))


def _commits(
    files: dict[str, bytes], planted: Sequence[Planted], content: int, chance: random.Random
) -> Iterator[dict[str, bytes]]:
    names = list(files)
    size = 0
    for first in range(0, len(names), 200):
        changes = {name: files[name] for name in names[first : first + 200]}
        size += sum(map(len, changes.values()))
        yield changes
    editable = [name for name in names if len(files[name]) >= 2_000 and files[name].count(b"\n") > 40]
    weights = list(itertools.accumulate(len(files[name]) for name in editable))
    to_plant = list(planted)
    every = max(1, (content - size) // max(1, len(planted) + 1))
    next_plant = size + every
    while size < content:
        changes = {}
        for name in set(chance.choices(editable, cum_weights=weights, k=chance.randint(1, 12))):
            files[name] = changes[name] = _edited(files[name], files[chance.choice(editable)], chance)
        if to_plant and size >= next_plant:
            name, pair = chance.choice(editable), to_plant.pop()
            changes[name] = _with_pair(files[name], pair, chance)
            next_plant += every
        size += sum(map(len, changes.values()))
        yield changes


def _edited(data: bytes, other: bytes, chance: random.Random) -> bytes:
    lines, source = data.split(b"\n"), other.split(b"\n")
    for _ in range(chance.randint(1, 4)):
        at, many = chance.randrange(len(lines)), chance.randint(1, 8)
        start = chance.randrange(len(source))
        match chance.randrange(3):
            case 0 if len(lines) > 60:
                del lines[at : at + many]
            case 1:
                lines[at : at + many] = source[start : start + many]
            case _:
                lines[at:at] = source[start : start + many]
    return b"\n".join(lines)


def _with_pair(data: bytes, pair: Planted, chance: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    lines[at:at] = [
        f'aws_access_key_id = "{pair.access_key_id}"'.encode(),
        f'aws_secret_access_key = "{pair.secret}"'.encode(),
    ]
    return b"\n".join(lines)


def _pair(chance: random.Random) -> Planted:
    body = chance.choice(BODY[16:]) + "".join(chance.choice(BODY) for _ in range(15))
    return Planted("AKIA" + body, "".join(chance.choice(SECRET) for _ in range(40)))
