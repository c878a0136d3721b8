"""Which media type an `Accept` asks for (RFC 9110 section 12.5.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from grantledger.adapters.http.negotiating import preferred

JSON, CSV, SSE = "application/json", "text/csv; header=present", "text/event-stream"
OFFERED = [JSON, "application/x-ndjson", "application/x-ndjson; profile=ocsf", CSV, SSE]


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/csv", CSV),
        ("Text/CSV ; Q=0.5", CSV),
        ("application/json;q=0.5, text/csv;q=0.9", CSV),
        ("text/csv;q=0.9, application/json", JSON),
        ("text/csv;q=0, */*", JSON),
        ("text/*, text/csv;q=0", SSE),
        ("text/csv;q=0, text/*;q=0.1", SSE),
        ("application/json;q=0, text/csv;q=0.001", CSV),
        ("*/*;q=0.1, text/event-stream;q=0", JSON),
        ("text/event-stream;q=0", JSON),
        ("application/x-ndjson", OFFERED[1]),
        ("application/x-ndjson;profile=ocsf", OFFERED[2]),
        ("application/x-ndjson;profile=ocsf;q=0.2, application/x-ndjson", OFFERED[1]),
        ("text/csv;header=absent, text/event-stream;q=0.1", SSE),
        # What cannot be read counts for nothing.
        ("text/csv;q=2, text/event-stream;q=0.1", SSE),
        ("text/csv;q=0.1234, text/event-stream;q=0.1", SSE),
        ("*, text/event-stream;q=0.1", SSE),
        # Nothing that is offered: the header is disregarded.
        ("text/html", JSON),
        ("*/*;q=0", JSON),
    ],
)
def test_the_most_specific_range_says_how_much_a_type_is_wanted(
    accept: str, chosen: str
) -> None:
    assert preferred(accept, OFFERED) == chosen


_KINDS = st.sampled_from(
    ["*/*", "text/*", "application/*", "text/csv", JSON, "text/html", SSE, "TEXT/csv"]
)
_QUALITIES = st.sampled_from(["", ";q=0", ";q=0.000", " ; q=0.3", ";q=0.7", ";Q=1.0"])
_PLAIN = [JSON, "application/x-ndjson", "text/csv", SSE]


@given(
    st.dictionaries(_KINDS, _QUALITIES, max_size=5).filter(
        lambda said: len({kind.lower() for kind in said}) == len(said)
    ),
    st.permutations(_PLAIN),
)
def test_it_chooses_what_another_implementation_gives_the_highest_quality(
    said: dict[str, str], offered: list[str]
) -> None:
    accept = ", ".join(f"{kind}{quality}" for kind, quality in said.items())
    other = parse_accept_header(accept, MIMEAccept)
    best = max(offered, key=other.quality)
    assert preferred(accept, offered) == (best if other.quality(best) else offered[0])


@given(st.text(alphabet='*/;=,q0.1" \\textcsv', max_size=60) | st.text(max_size=60))
def test_any_header_chooses_something(accept: str) -> None:
    assert preferred(accept, OFFERED) in OFFERED
