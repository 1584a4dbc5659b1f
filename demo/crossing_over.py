"""How the use of one key goes down while that of another goes up: as a line of text, and as an SVG. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

BARS: Final = " ▁▂▃▄▅▆▇█"
WIDTH, HEIGHT = 860, 360
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 78, 46
OLD, NEW, INK, FAINT = "#b3541e", "#1f6f8b", "#333333", "#cccccc"
LABEL_ROWS: Final = 3


@dataclass(frozen=True, slots=True)
class Use:
    """Calls that were done at a time (seconds from the beginning) and go back to a key."""

    at: float
    key: str
    calls: int


def rates(uses: Iterable[Use], keys: Sequence[str], *, until: float, steps: int) -> Mapping[str, list[float]]:
    """Calls a second of each key, in `steps` equal spans from 0 to `until`."""
    span = until / steps
    sums = {key: [0.0] * steps for key in keys}
    for use in uses:
        if use.key in sums and 0 <= use.at <= until:
            sums[use.key][min(steps - 1, int(use.at / span))] += use.calls
    return {key: [calls / span for calls in each] for key, each in sums.items()}


def sparkline(values: Sequence[float], most: float) -> str:
    """One character a value; what is more than nothing is never shown as nothing."""
    top = len(BARS) - 1
    return "".join(
        BARS[0] if value <= 0 else BARS[max(1, min(top, round(value / most * top)))] for value in values
    )


def svg(
    rate_of: Mapping[str, Sequence[float]],
    *,
    old: str,
    new: str,
    until: float,
    events: Sequence[tuple[float, str]],
    failed: int,
) -> str:
    """Both curves over time, with what happened when. Colours and dashes tell them apart."""
    most = max(1.0, *(value for values in rate_of.values() for value in values))
    plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    floor = TOP + plot_height

    def across(seconds: float) -> float:
        return LEFT + plot_width * seconds / until

    def curve(values: Sequence[float]) -> str:
        span = until / len(values)
        return " ".join(
            f"{across((number + 0.5) * span):.1f},{floor - plot_height * value / most:.1f}"
            for number, value in enumerate(values)
        )

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<style>text { font: 12px sans-serif }</style>",
        "<title>A rotation under load: calls a second, by the key that they go back to</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" fill="{INK}">Calls a second, by key; {failed} failed</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = floor - plot_height * share
        lines.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{FAINT}"/>')
        lines.append(
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="{INK}">{most * share:.0f}</text>'
        )
    tick = next(size for size in (5, 10, 30, 60, 300, 3600) if until / size <= 12 or size == 3600)
    lines += [
        f'<text x="{across(seconds):.1f}" y="{floor + 18}" text-anchor="middle" fill="{INK}">{seconds} s</text>'
        for seconds in range(0, int(until) + 1, tick)
    ]
    for number, (at, what) in enumerate(events):
        x, row = across(at), TOP - 8 - 14 * (number % LABEL_ROWS)
        is_late = at > until * 0.75
        lines.append(
            f'<line x1="{x:.1f}" y1="{row + 3}" x2="{x:.1f}" y2="{floor}" stroke="{INK}" stroke-dasharray="2 3"/>'
        )
        lines.append(
            f'<text x="{x + (-4 if is_late else 4):.1f}" y="{row}" text-anchor="{"end" if is_late else "start"}" '
            f'fill="{INK}">{escape(what)}</text>'
        )
    for key, name, colour, dashes in ((old, "old", OLD, "6 3"), (new, "new", NEW, "none")):
        lines.append(
            f'<polyline id="{name}" points="{curve(rate_of[key])}" fill="none" stroke="{colour}" '
            f'stroke-width="2.5" stroke-dasharray="{dashes}"/>'
        )
    for place, (key, name, colour) in enumerate(((old, "old", OLD), (new, "new", NEW))):
        x = LEFT + place * 400
        lines.append(
            f'<text x="{x}" y="{HEIGHT - 8}" fill="{colour}">{name} key {escape(key)}, its session included</text>'
        )
    lines.append("</svg>")
    return "\n".join(lines) + "\n"
