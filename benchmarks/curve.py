"""Draws how figures change with the number of users: an SVG of a few lines, without any library.

Every curve is relative to its own first point, so that the machine drops out; memory stands below in MiB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from pathlib import Path

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 620, 30, 230
_COLOURS = ("#0b5fa5", "#b3541e", "#2f7d32", "#7b3fa0")
_HIGHEST = 1.25


def draw(path: Path, curves: Mapping[str, Mapping[int, float]], memory: Mapping[int, int]) -> None:
    """`curves` are multiples of the first point by number of users, `memory` is bytes by number of users."""
    path.write_text("\n".join(_lines(curves, memory)) + "\n", encoding="utf-8")


def _lines(curves: Mapping[str, Mapping[int, float]], memory: Mapping[int, int]) -> list[str]:
    sizes = list(memory)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        "<style>text { font: 12px sans-serif }</style>",
        "<title>Answers per CPU second by number of users, relative to the fewest</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        dash = ' stroke-dasharray="4 3"' if share == 0.75 else ""
        lines += [
            f'<path d="M{_LEFT} {_y(share):.0f}H{_RIGHT}" stroke="#cccccc"{dash}/>',
            f'<text x="{_LEFT - 8}" y="{_y(share) + 4:.0f}" text-anchor="end">{share:g}</text>',
        ]
    for size in sizes:
        x = _x(size, sizes)
        lines += [
            f'<text x="{x:.0f}" y="{_BOTTOM + 18}" text-anchor="middle">{size:,} users</text>',
            f'<text x="{x:.0f}" y="{_BOTTOM + 34}" text-anchor="middle">{memory[size] / 2**20:,.0f} MiB</text>',
        ]
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number]
        points = " ".join(f"{_x(size, sizes):.0f},{_y(curve[size]):.1f}" for size in sizes)
        row = _BOTTOM + 58 + 18 * number
        lines += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<path d="M{_LEFT} {row - 4}h24" stroke="{colour}" stroke-width="2"/>',
            f'<text x="{_LEFT + 32}" y="{row}">{escape(name)}</text>',
        ]
    return [*lines, "</svg>"]


def _x(size: int, sizes: list[int]) -> float:
    share = math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0])
    return _LEFT + 40 + share * (_RIGHT - _LEFT - 80)


def _y(share: float) -> float:
    return _BOTTOM - min(share, _HIGHEST) / _HIGHEST * (_BOTTOM - _TOP)
