"""What held at a time is what a prefix of the log says, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from grantledger.projections.as_of import DISORDER, as_of, prefix_at
from tests.domain.arrange import NOW, Case, consent, replay


def naive(times: Sequence[datetime | None], at: datetime) -> int:
    """The longest prefix whose running maximum is not later; pruned leaves say none."""
    for index, recorded_at in enumerate(times):
        if recorded_at is not None and recorded_at > at:
            return index
    return len(times)


def readable(times: Sequence[datetime | None], size: int) -> int:
    """How many of the first leaves are not pruned."""
    return sum(recorded_at is not None for recorded_at in times[:size])


steps = st.lists(
    st.tuples(
        st.floats(0, 3),
        st.floats(-DISORDER.total_seconds() / 2, DISORDER.total_seconds() / 2),
        st.booleans(),
    ),
    max_size=60,
)


@given(steps, st.floats(-10, 190))
def test_the_prefix_is_found_whatever_the_disorder_and_what_was_pruned(
    said: list[tuple[float, float, bool]], seconds: float
) -> None:
    times: list[datetime | None] = []
    server = NOW
    for passed, skew, pruned in said:
        server += timedelta(seconds=passed)
        times.append(None if pruned else server + timedelta(seconds=skew))

    def look(start: int, end: int, limit: int) -> list[tuple[int, datetime]]:
        found = [(n, t) for n, t in enumerate(times[start:end], start) if t is not None]
        return found[:limit]

    at = NOW + timedelta(seconds=seconds)
    found = prefix_at(look, len(times), at)
    assert readable(times, found) == readable(times, naive(times, at))


@given(
    st.sampled_from(("steady", "bursts", "one burst")),
    st.integers(0, 2**32),
    st.floats(0, 10_000),
)
def test_a_place_is_found_by_few_looks_at_a_log(
    how: str, seed: int, seconds: float
) -> None:
    """A steady rate takes a dozen; any other thrice the logarithm at most."""
    size = 2_000
    drawn = Random(seed)  # noqa: S311 - which times, nothing secret
    if how == "steady":
        offsets = [drawn.uniform(0, 10_000) for _ in range(size)]
    elif how == "bursts":
        offsets = [drawn.choice((1, 9_000)) + drawn.expovariate(1) for _ in range(size)]
    else:
        offsets = [10_000 - 1 / (1 + n) for n in range(size)]
    times = [NOW + timedelta(seconds=offset) for offset in sorted(offsets)]
    at = NOW + timedelta(seconds=seconds)
    single = 0

    def look(start: int, end: int, limit: int) -> list[tuple[int, datetime]]:
        nonlocal single
        single += limit == 1
        return list(enumerate(times[start : min(end, start + limit)], start))

    assert prefix_at(look, size, at) == naive(times, at)
    assert single <= (16 if how == "steady" else 3 * size.bit_length())


def life() -> Case:
    """A grant that has gone through nearly everything."""
    case = Case(first=consent(access="at1"))
    case.rotated("rt2", "at2")
    case.lost()
    case.consented(consent("rt3", "at3"))
    case.revoked()
    case.consented(consent("rt4"))
    return case


def test_at_every_point_it_is_the_replay_of_what_was_there() -> None:
    case = life()
    # Other streams' leaves stand between.
    pairs = [(3 * number + 1, event) for number, event in enumerate(case.history)]
    for size in range(3 * len(pairs) + 1):
        there = [event for index, event in pairs if index < size]
        found = as_of(pairs, size)
        if not there:
            assert found is None
            continue
        assert found is not None
        assert found.state == replay(there).state
        assert found.grant.version == len(there)
        assert found.leaf_index == pairs[len(there) - 1][0]


def test_a_version_is_the_replay_of_so_many_events() -> None:
    case = life()
    pairs = list(enumerate(case.history))
    for version in range(1, len(pairs) + 1):
        found = as_of(pairs, len(pairs), version)
        assert found is not None
        assert found.state == replay(case.history[:version]).state
    assert as_of(pairs, len(pairs), 0) is None
