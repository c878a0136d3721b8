"""What a broken broker leaves is found: else a matrix without findings says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.settings import load
from tests.crash.damage import DAMAGE
from tests.crash.doctored import EVIDENCE, LIVES
from tests.crash.faults import (
    AFTER_END,
    GIVEN_UP,
    NEEDLESS,
    SENT_TWICE,
    UNASKED,
    UNRECORDED,
    UNSPOOLED,
    UNSTORED,
)
from tests.crash.ground import Forks, Ground, grounds
from tests.crash.left import Left, left
from tests.crash.points import CASES
from tests.crash.recovering import Answered
from tests.crash.rounds import Death, Kill, play
from tests.crash.verdict import VIOLATION, Judged, judge, verdict

BY_ROW = {case.row: case for case in CASES}
STORED = "append Rotated+Exchanged: returned"
ENDED = "append RedemptionFailed+ReauthorizationRequired: returned"
FAULTS = {
    "a token that is not recorded": (
        ("redeem", "b", "answer: printed", UNRECORDED),
        "a token left 1 times and was recorded 0 times",
    ),
    "a successor that is not stored": (
        ("redeem", "b", STORED, UNSTORED),
        "0 Rotated in the ledger; 1 were committed, 0 perhaps",
    ),
    "a token sent twice in the grace": (
        ("redeem", "g", STORED, SENT_TWICE),
        "sent 2 times, intended 1 times",
    ),
    "a token sent once more than the rule allows": (
        ("last try", "b", ENDED, SENT_TWICE),
        "sent 3 times to a server without grace",
    ),
    "a hand-out after a revocation": (
        ("revoke", "b", "append Revoked: returned", AFTER_END),
        "handed out after the revocation",
    ),
    "a confirmation that the server never gave": (
        ("revoke", "b", "append UpstreamRevocationConfirmed: returned", UNASKED),
        "the server has not ended the grant",
    ),
    "an obligation given up without asking": (
        ("revoke", "b", "append UpstreamRevocationAbandoned: returned", GIVEN_UP),
        "the refresh_token is confirmed: False",
    ),
    "a consent asked for with the answer in the ledger": (
        ("redeem", "b", STORED, NEEDLESS),
        "the answer was in the ledger",
    ),
    "a consent asked for with the answer in the spool": (
        ("spool", "b", "spool: returned", UNSPOOLED),
        "the answer was in the spool",
    ),
}
"""By what is left: where a broker with which fault dies, and what is said of it."""


@dataclass(frozen=True)
class Played:
    """A ledger on which brokers with faults have died, and healthy ones have lived.

    Attributes:
        broken: by fault.
        left: of the healthy ones, by name of their life.
    """

    ground: Ground
    deaths: Sequence[Death]
    answers: Sequence[Answered]
    broken: dict[str, Judged]
    left: dict[str, Left]

    def judged(self) -> list[Judged]:
        """Judge all of them again."""
        return asyncio.run(judge(self.ground, self.deaths, self.answers))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def played(
    request: pytest.FixtureRequest, dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Played]:
    """Play one round on each store."""
    kind: str = request.param
    plans = [plan for plan, _ in FAULTS.values()]
    plans += [(*life, "") for life in LIVES.values()]
    kills = [Kill(BY_ROW[r], at, kind, point, fault=f) for r, at, point, f in plans]
    folder = tmp_path_factory.mktemp("verdict") / kind
    with grounds(kind, dsn, folder, len(kills)) as ground:
        with Forks() as forks:
            deaths, answers = play(ground, forks, kills)

        async def collected() -> list[Left]:
            async with open_broker(load(ground.config(), {}), tend=False) as opened:
                return [
                    await left(ground, opened, death, answered)
                    for death, answered in zip(deaths, answers, strict=True)
                ]

        judged = asyncio.run(judge(ground, deaths, answers))
        found = asyncio.run(collected())[len(FAULTS) :]
        broken = dict(zip(FAULTS, judged, strict=False))
        left_by = dict(zip(LIVES, found, strict=True))
        yield Played(ground, deaths, answers, broken, left_by)


def test_what_a_broken_broker_leaves_is_found(played: Played) -> None:
    for name, (_, words) in FAULTS.items():
        one = played.broken[name]
        assert (name, one.outcome, one.killed) == (name, VIOLATION, True)
        assert words in one.wrong, (name, one.wrong)


def test_doctored_evidence_of_a_grant_is_found(played: Played) -> None:
    for name, (whose, doctored, words) in EVIDENCE.items():
        found = played.left[whose]
        assert verdict(found)[1] == [], name
        assert words in verdict(doctored(found))[1], name


def test_a_damaged_ledger_is_found(played: Played) -> None:
    before = played.judged()
    for name, (damage, error, words) in DAMAGE.items():
        with damage(played.ground):
            try:
                played.judged()
            except error as found:
                assert words in str(found), name  # noqa: PT017 - which damage it was is said
            else:
                pytest.fail(f"not found: {name}")
    assert played.judged() == before
