"""How a figure is made and told: medians over rounds in which the contestants take turns, ratios within a round."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must be at least, and what it is."""

    words: str
    figure: float
    at_least: float

    def line(self) -> str:
        verdict = "ok" if self.figure >= self.at_least else "short"
        return f"  {self.words:<72} {_short(self.figure):>8} {'>= ' + _short(self.at_least):>9}  {verdict}"


def interleaved(rounds: int, contestants: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Each contestant's figures, round by round; whoever began a round ends the next."""
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    for number in range(rounds):
        for name in order if number % 2 == 0 else reversed(order):
            figures[name].append(contestants[name]())
    return figures


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios within each round."""
    return statistics.median([our / their for our, their in zip(ours, theirs, strict=True)])


def machine() -> str:
    """What the figures were made on, in words that name no host."""
    facts = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    model = next((value.strip() for name, value in facts.items() if name.strip() == "model name"), "?")
    cores = sum(line.startswith("processor") for line in Path("/proc/cpuinfo").read_text().splitlines())
    load = Path("/proc/loadavg").read_text().split()[0]
    return f"{cores} cores ({model}), load {load}, Python {sys.version.split()[0]}"


def print_rounds(unit: str, figures: Mapping[str, Sequence[float]]) -> None:
    rounds = len(next(iter(figures.values())))
    print(f"{unit}, median of {rounds} rounds (lowest - highest)")
    for name, each in figures.items():
        print(
            f"  {name:<40} {statistics.median(each):10,.0f}   ({min(each):,.0f} - {max(each):,.0f})",
        )


def print_targets(targets: Sequence[Target]) -> None:
    print(f"{'target':<74} {'is':>8} {'must':>9}")
    for target in targets:
        print(target.line())
    sys.stdout.flush()


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"
