"""Real source code holds no key pair: at least 30,000 files of what PyPI, npm and Debian distribute, scanned as a history.

The files are those that lie on this machine already: packages of the checkout's environments, Debian's Python,
headers and documentation. They are committed package by package, and a scan of the whole history must tell no pair.
`--files N` for fewer; `--keep DIR` keeps the repository. Pairs that the text itself shows to be examples do not count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import figures

CHECKOUT = Path(__file__).resolve().parent.parent
LARGEST = 2_000_000
COMMIT_OF = 500


def roots() -> Sequence[Path]:
    """Where distributions of others lie. What is ours, or was made by a program here, is not among them."""
    environments = sorted(CHECKOUT.glob(".venv*/lib/python*/site-packages"))
    return [
        *environments,
        CHECKOUT / ".clients",
        *map(Path, ("/usr/lib/python3", "/usr/lib/node_modules", "/usr/share", "/usr/include")),
        Path(os.__file__).parent,
    ]


def files(among: Sequence[Path], at_most: int) -> Iterator[tuple[bytes, bytes]]:
    """Paths and contents; each content once."""
    seen: set[bytes] = set()
    for root in among:
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(set(folders) - {"__pycache__", ".git", "keyturn"})
            for name in sorted(names):
                path = Path(folder, name)
                if name.endswith((".pyc", ".so")) or path.is_symlink() or not path.is_file():
                    continue
                if not 0 < path.stat().st_size <= LARGEST or not os.access(path, os.R_OK):
                    continue
                data = path.read_bytes()
                if data in seen:
                    continue
                seen.add(data)
                yield os.fsencode(path.relative_to("/")), data
                if len(seen) >= at_most:
                    return


def commit(repository: Path, found: Iterator[tuple[bytes, bytes]]) -> tuple[int, int]:
    """How many files, and their bytes."""
    count = size = 0
    subprocess.run(["git", "init", "--quiet", "--bare", str(repository)], check=True)
    command = ["git", "-C", str(repository), "fast-import", "--quiet", "--date-format=raw"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as importer:
        assert importer.stdin is not None
        while some := list(islice(found, COMMIT_OF)):
            importer.stdin.write(
                b"commit refs/heads/main\ncommitter A Developer <developer@example.com> %d +0000\n"
                b"data 5\nfiles\n" % (1_600_000_000 + count)
            )
            for path, data in some:
                quoted = (
                    b'"' + path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n") + b'"'
                )
                importer.stdin.write(b"M 100644 inline %s\ndata %d\n%s\n" % (quoted, len(data), data))
                count += 1
                size += len(data)
        importer.stdin.close()
    if importer.returncode:
        sys.exit("git fast-import failed")
    return count, size


def scanned(repository: Path) -> list[dict[str, object]]:
    """The rows of `keyturn scan --output jsonl`, ids alone among them."""
    command = [
        sys.executable,
        "-m",
        "keyturn.cli.main",
        "scan",
        str(repository),
        "--no-state",
        "--include-ids",
    ]
    done = subprocess.run(
        [*command, "--output", "jsonl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode in {1, 2}:
        sys.exit(f"the scan failed: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=40_000)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keyturn-benchmark-") as directory:
        repository = options.keep or Path(directory) / "sources.git"
        count, size = commit(repository, files(roots(), options.files))
        rows = scanned(repository)
    real = [row for row in rows if row["verdict"] not in {"placeholder", "documentation"}]
    pairs = [row for row in real if row["kind"] == "pair"]
    print(
        f"{count:,} files, {size / 1e6:,.0f} MB; {len(pairs)} pairs, {len(real) - len(pairs)} ids alone,",
        end=" ",
    )
    print(f"{len(rows) - len(real)} examples and placeholders")
    for row in pairs:
        print(f"  {row['access_key_id']} in {row['path']} line {row['line']} {row['member'] or ''}")
    figures.print_targets(
        [
            figures.Target("files of real source code", count, min(options.files, 30_000)),
            figures.Target("of them without a false pair, over all", 1 - len(pairs) / count, 1),
        ]
    )
    return int(bool(pairs))


if __name__ == "__main__":
    sys.exit(main())
