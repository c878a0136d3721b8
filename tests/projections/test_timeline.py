"""The picture of what happened: one mark for each thing, each in its lane."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from grantledger.domain.audit import AuditOutcome, AuditPosition, AuditRow
from grantledger.projections.timeline import (
    ACCESS,
    BOX,
    CONSENT,
    ENDED,
    FAILED,
    HANDED,
    LANE,
    MAX_BARS,
    RECORD,
    REFRESH,
    RIGHT,
    TOP,
    WIDTH,
    Timeline,
    lane_of,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
GRANT = UUID(int=7)
SVG = "{http://www.w3.org/2000/svg}"


def row(
    event: str,
    seconds: float = 0,
    outcome: AuditOutcome = AuditOutcome.SUCCESS,
    grant_id: UUID | None = GRANT,
    lives: float | None = None,
) -> AuditRow:
    at = START + timedelta(seconds=seconds)
    return AuditRow(
        at=AuditPosition(0, -1),
        event_id=UUID(int=1),
        event=event,
        outcome=outcome,
        occurred_at=at,
        recorded_at=at,
        stream=UUID(int=2),
        stream_seq=1,
        request_id="r",
        node="n",
        grant_id=grant_id,
        expires_at=None if lives is None else at + timedelta(seconds=lives),
    )


def drawn(rows: Sequence[AuditRow]) -> ET.Element:
    timeline = Timeline()
    for one in rows:
        timeline.add(one)
    return ET.fromstring(timeline.svg())  # noqa: S314 - our own


def counts(picture: ET.Element) -> list[int]:
    return [int(e.text or "") for e in picture if e.get("class") == "count"]


def marked(picture: ET.Element) -> int:
    """Return how many things the marks stand for."""
    total = 0
    for group in picture.iter(f"{SVG}g"):
        number = group.find(f"{SVG}text")
        total += 1 if number is None else int((number.text or "").rstrip("+"))
    return total


def test_what_failed_or_was_refused_has_a_lane_of_its_own() -> None:
    failed, denied = AuditOutcome.FAILED, AuditOutcome.DENIED
    assert lane_of(row("Provisioned")) == CONSENT
    assert lane_of(row("ReauthorizationRequired", outcome=failed)) == CONSENT
    assert lane_of(row("Rotated")) == REFRESH
    assert lane_of(row("Exchanged")) == ACCESS
    assert lane_of(row("HandedOut")) == HANDED
    assert lane_of(row("Denied", outcome=denied)) == FAILED
    assert lane_of(row("Denied", outcome=denied, grant_id=None)) == FAILED
    assert lane_of(row("RedemptionFailed", outcome=AuditOutcome.UNKNOWN)) == FAILED
    assert lane_of(row("UpstreamRevocationFailed", outcome=failed)) == ENDED
    assert lane_of(row("Erased")) == ENDED
    assert lane_of(row("AuditAccessed")) == RECORD
    assert lane_of(row("CheckpointFailed", outcome=failed, grant_id=None)) == RECORD


def test_nothing_happened_is_no_picture() -> None:
    assert Timeline().svg() == ""


def test_one_moment_is_a_picture_too() -> None:
    picture = drawn([row("HandedOut")] * 3)
    assert counts(picture)[HANDED] == 3
    assert marked(picture) == 3


def test_a_refresh_token_is_held_until_its_successor_or_the_end() -> None:
    rows = [row("Provisioned"), row("Rotated", 100), row("HandedOut", 200)]
    bars = [e for e in drawn(rows) if e.get("class") == "bar refresh"]
    ends = [float(e.get("x", 0)) + float(e.get("width", 0)) for e in bars]
    assert len(bars) == 2
    assert max(ends) == WIDTH - RIGHT, "the last one is held still"
    ended = drawn([*rows, row("Revoked", 150), row("HandedOut", 300)])
    bars = [e for e in ended if e.get("class") == "bar refresh"]
    ends = [float(e.get("x", 0)) + float(e.get("width", 0)) for e in bars]
    assert max(ends) < WIDTH / 2 + WIDTH / 8


def test_many_tokens_are_one_bar_for_as_long_as_there_was_one() -> None:
    rows = [row("Exchanged", n * 60, lives=90) for n in range(MAX_BARS + 1)]
    late = [row("Exchanged", 20_000 + n * 60, lives=90) for n in range(3)]
    bars = [e for e in drawn(rows + late) if e.get("class") == "bar access"]
    assert len(bars) == 2
    words = "".join(bars[0].itertext())
    assert words.startswith("Some access token, 2026-03-01 12:00:00 to ")
    few = [e for e in drawn(rows[:MAX_BARS]) if e.get("class") == "bar access"]
    assert len(few) == MAX_BARS


def test_a_reader_years_later_does_not_shrink_the_picture() -> None:
    rows = [row("HandedOut"), row("HandedOut", 3600)]
    late = row("AuditAccessed", 1e8)
    picture = drawn([*rows, late])
    title = picture.find(f"{SVG}title")
    assert title is not None
    assert (title.text or "").endswith("2026-03-01 13:00:00 UTC")
    assert counts(picture)[RECORD] == 1
    assert marked(picture) == 3


@given(
    st.lists(
        st.builds(
            row,
            st.sampled_from(
                ["Provisioned", "Rotated", "Exchanged", "HandedOut", "Denied", "Other"]
            ),
            st.floats(0, 1e8),
            st.sampled_from(AuditOutcome),
            st.sampled_from([GRANT, None, UUID(int=9)]),
            st.none() | st.floats(-10, 1e6),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_every_row_is_in_the_picture_once_and_no_mark_covers_another(
    rows: list[AuditRow],
) -> None:
    picture = drawn(rows)
    assert sum(counts(picture)) == len(rows)
    assert marked(picture) == len(rows)
    places: dict[float, list[tuple[float, float]]] = {}
    for group in picture.iter(f"{SVG}g"):
        circle, square = group.find(f"{SVG}circle"), group.find(f"{SVG}rect")
        if circle is not None:
            x, y, size = (float(circle.get(name, 0)) for name in ("cx", "cy", "r"))
        else:
            assert square is not None
            side = float(square.get("width", 0))
            x = float(square.get("x", 0)) + side / 2
            y = float(square.get("y", 0)) + side / 2
            size = side / 2
        places.setdefault(round(y), []).append((x, size))
        assert x - size >= 0
        assert x + size <= WIDTH
    for lane, marks in places.items():
        assert (lane - TOP - LANE / 2) % LANE == 0
        marks.sort()
        for (left, _), (right, _) in pairwise(marks):
            assert right - left > BOX / 4


def test_times_stand_below_and_days_where_they_change() -> None:
    words = re.findall(
        r'class="(?:time|date)"[^>]*>([^<]*)<',
        ET.tostring(
            drawn([row("HandedOut"), row("HandedOut", 86_400)]), encoding="unicode"
        ).replace("ns0:", ""),
    )
    assert words.count("2026-03-01") == 1
    assert words.count("2026-03-02") == 1
    assert "00:00" in words
