"""Pictures of numbers: every number is drawn, and nothing in them is markup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from grantledger.projections.charts import HEIGHT, TOP, Column, columns

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NUMBERS = st.lists(st.integers(0, 10**12), max_size=80)
SVG = "{http://www.w3.org/2000/svg}"


@given(numbers=NUMBERS, title=st.text("<&\"'x", max_size=8))
def test_a_picture_has_a_column_for_each_number(numbers: list[int], title: str) -> None:
    data = [
        Column(NOON + timedelta(minutes=n), value, title)
        for n, value in enumerate(numbers)
    ]
    picture = ET.fromstring(columns(title, data))  # noqa: S314 - our own
    drawn = picture.findall(f"{SVG}rect")
    assert len(drawn) == len(numbers)
    assert picture.attrib["aria-label"] == title
    for one, value in zip(drawn, numbers, strict=True):
        height = float(one.attrib["height"])
        assert (height > 0) is (value > 0)
        assert height <= HEIGHT
        assert float(one.attrib["y"]) + height <= TOP + HEIGHT + 0.2
