"""A picture of what happened: time from left to right, a lane for each kind of thing.

An SVG without a script, a style or a link of its own: whoever shows it gives the
classes their colours. Shapes differ where colours do, so that it reads without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import escape
from itertools import groupby

from grantledger.domain.audit import AuditOutcome, AuditRow

WIDTH = 1000
LEFT = 128
RIGHT = 14
TOP = 10
LANE = 42
FOOT = 44
MARGIN = 14
BOX = 26
"""How wide a box is of which everything is drawn as one mark, with its number."""

MAX_BARS = 100
"""Where there are more, those that touch are drawn as one."""

MOST = 999

CONSENT, REFRESH, ACCESS, HANDED, FAILED, ENDED, RECORD = range(7)
LANES: Sequence[tuple[str, str]] = (
    ("Consent", "consent"),
    ("Refresh tokens", "refresh"),
    ("Access tokens", "access"),
    ("Hand-outs", "handed"),
    ("Refused, failed", "failed"),
    ("Revocation", "ended"),
    ("The record itself", "record"),
)
"""What each lane is called, and the class of what is drawn in it."""

_LANE_OF: Mapping[str, int] = {
    "Provisioned": CONSENT,
    "ReauthorizationRequired": CONSENT,
    "RedemptionIntended": REFRESH,
    "Rotated": REFRESH,
    "LateAnswerKept": REFRESH,
    "Exchanged": ACCESS,
    "HandedOut": HANDED,
    "ExchangeIntended": HANDED,
    "GivenBack": ENDED,
    "Revoked": ENDED,
    "AccessTokenEnded": ENDED,
    "UpstreamRevocationConfirmed": ENDED,
    "UpstreamRevocationFailed": ENDED,
    "UpstreamRevocationAbandoned": ENDED,
    "SecurityEventAcknowledged": ENDED,
    "SecurityEventAbandoned": ENDED,
    "Erased": ENDED,
}
_STEPS = (
    *(timedelta(milliseconds=ms) for ms in (10, 50, 100, 200, 500)),
    *(timedelta(seconds=s) for s in (1, 2, 5, 15, 30)),
    *(timedelta(minutes=m) for m in (1, 2, 5, 15, 30)),
    *(timedelta(hours=h) for h in (1, 2, 3, 6, 12)),
    *(timedelta(days=d) for d in (1, 2, 7, 14, 30, 90, 365, 3650)),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS = 7


@dataclass(frozen=True, slots=True)
class _Point:
    at: datetime
    event: str


@dataclass(frozen=True, slots=True)
class _Bar:
    start: datetime
    end: datetime | None
    words: str


@dataclass(slots=True)
class Timeline:
    """Takes rows one after the other, and keeps of each what the picture needs."""

    _points: list[list[_Point]] = field(default_factory=lambda: [[] for _ in LANES])
    _access: list[_Bar] = field(default_factory=list[_Bar])
    _refresh: list[_Bar] = field(default_factory=list[_Bar])
    _holding: dict[object, datetime] = field(default_factory=dict[object, datetime])

    def add(self, row: AuditRow) -> None:
        """Draw a row as well."""
        at = row.occurred_at
        self._points[lane_of(row)].append(_Point(at, row.event))
        if row.event == "Exchanged" and row.expires_at is not None:
            end = max(at, row.expires_at)
            self._access.append(_Bar(at, end, _span("Access token", at, end)))
        if row.event in {"Provisioned", "Rotated"}:
            self._closed(row.grant_id, at)
            self._holding[row.grant_id] = at
        elif row.event in {"Revoked", "Erased"}:
            self._closed(row.grant_id, at)

    def _closed(self, grant_id: object, at: datetime) -> None:
        start = self._holding.pop(grant_id, None)
        if start is not None:
            end = max(start, at)
            self._refresh.append(_Bar(start, end, _span("Refresh token", start, end)))

    def svg(self) -> str:
        """Return the picture; empty where there was nothing."""
        times = [p.at for lane in self._points[:RECORD] for p in lane]
        # That the record was read, perhaps years later, does not shrink the rest.
        times = times or [p.at for p in self._points[RECORD]]
        if not times:
            return ""
        scale = _Scale(min(times), max(times))
        height = TOP + LANE * len(LANES) + FOOT
        held = [_Bar(at, None, _since(at)) for at in self._holding.values()]
        opening = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" role="img" '
            'aria-labelledby="timeline-title"><title id="timeline-title">'
            f"{escape(scale.words)}</title>"
        )
        parts = [
            opening,
            *self._grid(scale),
            *_bars(self._refresh + held, REFRESH, scale),
            *_bars(self._access, ACCESS, scale),
        ]
        for number, lane in enumerate(self._points):
            parts += _marks(sorted(lane, key=lambda p: p.at), number, scale)
        return "".join([*parts, "</svg>"])

    def _grid(self, scale: _Scale) -> Iterator[str]:
        bottom = TOP + LANE * len(LANES)
        for number, (words, _) in enumerate(LANES):
            top = TOP + LANE * number
            kind = "lane odd" if number % 2 else "lane"
            yield (
                f'<rect class="{kind}" x="0" y="{top}" width="{WIDTH}" '
                f'height="{LANE}"/>'
            )
            count = len(self._points[number])
            yield (
                f'<text class="name" x="10" y="{top + LANE / 2 - 2:g}">{words}</text>'
                f'<text class="count" x="10" y="{top + LANE / 2 + 13:g}">{count}</text>'
            )
        for at, (first, second) in scale.ticks():
            x = scale.x(at)
            yield (
                f'<line class="tick" x1="{x:g}" y1="{TOP}" x2="{x:g}" y2="{bottom}"/>'
                f'<text class="time" x="{x:g}" y="{bottom + 18}">{first}</text>'
                f'<text class="date" x="{x:g}" y="{bottom + 34}">{second}</text>'
            )


def lane_of(row: AuditRow) -> int:
    """Return the lane in which a row is drawn."""
    lane = _LANE_OF.get(row.event, RECORD)
    if row.outcome is AuditOutcome.SUCCESS or lane in {CONSENT, ENDED}:
        return lane
    of_ledger = row.grant_id is None and row.outcome is not AuditOutcome.DENIED
    return RECORD if of_ledger else FAILED


class _Scale:
    """From times to places: all of the picture's width, and a margin at its end."""

    def __init__(self, first: datetime, last: datetime) -> None:
        self._first = first
        # One moment is drawn as a second: nothing is divided by nothing.
        self._span = max(last - first, timedelta(seconds=1))
        self._last = first + self._span
        self._pixels = WIDTH - LEFT - RIGHT - 2 * MARGIN
        self.words = (
            f"Timeline, {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"
        )

    def x(self, at: datetime) -> float:
        """Return the place of a time, to a tenth; what is beyond is at the edge."""
        part = min(max((at - self._first) / self._span, 0.0), 1.0)
        return round(LEFT + MARGIN + part * self._pixels, 1)

    def ticks(self) -> Iterator[tuple[datetime, tuple[str, str]]]:
        """Yield (time, (first line, second line)) of the marks below the picture."""
        step = next((s for s in _STEPS if self._span / s <= _TICKS), _STEPS[-1])
        number = -((_EPOCH - self._first) // step)
        day = ""
        while (at := _EPOCH + number * step) <= self._last:
            number += 1
            if at < self._first:
                continue
            date = f"{at:%Y-%m-%d}"
            if step >= timedelta(days=1):
                yield at, (date, "")
                continue
            time = f"{at:%H:%M:%S}" if step < timedelta(minutes=1) else f"{at:%H:%M}"
            if step < timedelta(seconds=1):
                time = f"{at:%H:%M:%S}.{at.microsecond // 10_000:02}"
            yield at, (time, date if date != day else "")
            day = date


def _bars(bars: Sequence[_Bar], lane: int, scale: _Scale) -> Iterator[str]:
    """Yield how long tokens were good, two thin rows of them so that some overlap."""
    middle = TOP + LANE * lane + LANE / 2
    kind = LANES[lane][1]
    for number, bar in enumerate(_joined(bars, kind)):
        start = scale.x(bar.start)
        end = WIDTH - RIGHT if bar.end is None else scale.x(bar.end)
        y = middle - 9 + 10 * (number % 2)
        yield (
            f'<rect class="bar {kind}" x="{start:g}" y="{y:g}" rx="2" height="8" '
            f'width="{max(end - start, 2):g}"><title>{escape(bar.words)}</title></rect>'
        )


def _joined(bars: Sequence[_Bar], kind: str) -> list[_Bar]:
    """Return the bars, or of too many the times in which there was one at least."""
    if len(bars) <= MAX_BARS:
        return list(bars)
    joined: list[_Bar] = []
    what = f"Some {kind} token"
    for bar in sorted(bars, key=lambda b: b.start):
        last = joined[-1] if joined else None
        if last is None or (last.end is not None and bar.start > last.end):
            joined.append(bar)
        elif last.end is not None:
            end = None if bar.end is None else max(last.end, bar.end)
            words = f"{what}, from {last.start:%Y-%m-%d %H:%M:%S} UTC on"
            if end is not None:
                words = _span(what, last.start, end)
            joined[-1] = _Bar(last.start, end, words)
    return joined


def _marks(points: Sequence[_Point], lane: int, scale: _Scale) -> Iterator[str]:
    """Yield one mark for all that lie in one of the lane's boxes, none over another."""
    for box, some in groupby(points, key=lambda p: int(scale.x(p.at) // BOX)):
        group = list(some)
        x = (scale.x(group[0].at) + scale.x(group[-1].at)) / 2
        size = 5.0 if len(group) == 1 else min(7.0 + 1.7 * len(str(len(group))), 12.5)
        start, end = box * BOX + size, (box + 1) * BOX - size
        yield _mark(group, lane, round(min(max(x, start), end), 1), size)


def _mark(group: Sequence[_Point], lane: int, x: float, size: float) -> str:
    y = TOP + LANE * lane + LANE / 2
    kind = LANES[lane][1]
    if lane in {FAILED, ENDED}:
        turn = f' transform="rotate(45 {x:g} {y:g})"' if lane == FAILED else ""
        side = size * 1.7
        shape = (
            f'<rect class="mark {kind}" x="{x - side / 2:g}" y="{y - side / 2:g}" '
            f'width="{side:g}" height="{side:g}"{turn}/>'
        )
    else:
        shape = f'<circle class="mark {kind}" cx="{x:g}" cy="{y:g}" r="{size:g}"/>'
    text = ""
    if len(group) > 1:
        shown = str(len(group)) if len(group) <= MOST else f"{MOST}+"
        small = " small" if len(shown) > len("99") else ""
        text = f'<text class="number{small}" x="{x:g}" y="{y + 3.5:g}">{shown}</text>'
    return f"<g><title>{escape(_words(group))}</title>{shape}{text}</g>"


def _words(group: Sequence[_Point]) -> str:
    names: dict[str, int] = {}
    for point in group:
        names[point.event] = names.get(point.event, 0) + 1
    said = ", ".join(f"{n} {name}" if n > 1 else name for name, n in names.items())
    first, last = group[0].at, group[-1].at
    if len(group) == 1:
        return f"{said}, {first:%Y-%m-%d %H:%M:%S} UTC"
    return f"{said}, {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"


def _span(what: str, start: datetime, end: datetime) -> str:
    return f"{what}, {start:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC"


def _since(start: datetime) -> str:
    return f"Refresh token, from {start:%Y-%m-%d %H:%M:%S} UTC on"
