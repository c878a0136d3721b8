"""What a broken broker leaves is found: else a matrix without findings says nothing."""

from __future__ import annotations

from pathlib import Path

from tests.crash.faults import SENT_TWICE, UNRECORDED, UNSTORED
from tests.crash.matrix import run
from tests.crash.points import CASES
from tests.crash.rounds import Kill
from tests.crash.verdict import VIOLATION

REDEEM = CASES[0]
STORED = "append Rotated+Exchanged: returned"
EXPECTED = {
    Kill(REDEEM, "b", "sqlite", "answer: printed", fault=UNRECORDED): (
        "a token left 1 times and was recorded 0 times"
    ),
    Kill(REDEEM, "b", "sqlite", STORED, fault=UNSTORED): (
        "0 Rotated in the ledger; 1 were committed, 0 perhaps"
    ),
    Kill(REDEEM, "g", "sqlite", STORED, fault=SENT_TWICE): (
        "sent 2 times, intended 1 times"
    ),
}


def test_every_fault_is_found(dsn: str, tmp_path: Path) -> None:
    (judged,) = run(list(EXPECTED), dsn, tmp_path)
    assert len(judged) == len(EXPECTED)
    for one, found in zip(judged, EXPECTED.values(), strict=True):
        assert one.outcome == VIOLATION
        assert found in one.wrong, one.wrong
