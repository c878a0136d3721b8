"""Small pictures of numbers over time, as SVG: columns, with what each says in words.

Without a script, a style or a colour of its own: whoever shows one gives the classes
their colours, and the numbers in a table beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

WIDTH = 480
HEIGHT = 120
FOOT = 18
LEFT = 44
TOP = 8


@dataclass(frozen=True, slots=True)
class Column:
    """One number.

    Attributes:
        at: what it is of, aware UTC.
        words: what it says, in a few words.
    """

    at: datetime
    value: float
    words: str


def columns(title: str, data: Sequence[Column], kind: str = "column") -> str:
    """Return the picture; one of zeros alone is an empty frame.

    Args:
        title: says what it is of.
        data: from left to right.
        kind: the class of a column.
    """
    most = max((one.value for one in data), default=0.0)
    step = (WIDTH - LEFT) / max(len(data), 1)
    bottom = TOP + HEIGHT
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} '
        f'{bottom + FOOT}" role="img" aria-label="{escape(title)}">'
    )
    parts = [
        opening,
        f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{WIDTH}" y2="{bottom}"/>',
        f'<text x="{LEFT - 6}" y="{TOP + 9}" text-anchor="end">{_short(most)}</text>',
        f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
    ]
    for number, one in enumerate(data):
        height = HEIGHT * one.value / most if most else 0.0
        if one.value:
            # What is there is seen, however small beside the others.
            height = max(height, 2.0)
        parts.append(
            f'<rect class="{kind}" x="{LEFT + number * step + step * 0.1:.1f}" '
            f'y="{bottom - height:.1f}" width="{step * 0.8:.1f}" '
            f'height="{height:.1f}"><title>{escape(one.words)}</title></rect>'
        )
    for number, anchor in ((0, "start"), (len(data) - 1, "end")):
        if data:
            x = LEFT if anchor == "start" else WIDTH
            parts.append(
                f'<text x="{x}" y="{bottom + FOOT - 4}" text-anchor="{anchor}">'
                f"{data[number].at:%H:%M}</text>"
            )
    return "".join([*parts, "</svg>"])


def _short(value: float) -> str:
    """Return a number in few characters."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"
