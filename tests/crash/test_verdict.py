"""What a broken broker leaves is found: else a matrix without findings says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

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
from tests.crash.matrix import run
from tests.crash.points import CASES
from tests.crash.rounds import Kill
from tests.crash.verdict import VIOLATION, Judged

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

STORES = ("sqlite", "postgresql")
Found = Mapping[tuple[str, str], Judged]


@pytest.fixture(scope="module")
def found(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Let all of them die over one ledger on each store; by store and fault."""
    names = [(store, name) for store in STORES for name in FAULTS]
    kills = [
        Kill(BY_ROW[row], provider, store, point, fault=fault)
        for store, name in names
        for (row, provider, point, fault) in (FAULTS[name][0],)
    ]
    folder: Path = tmp_path_factory.mktemp("faults")
    judged = [one for some in run(kills, dsn, folder) for one in some]
    return dict(zip(names, judged, strict=True))


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", FAULTS)
def test_what_a_broken_broker_leaves_is_found(
    found: Found, store: str, name: str
) -> None:
    one = found[store, name]
    assert one.outcome == VIOLATION
    assert one.killed
    assert FAULTS[name][1] in one.wrong, one.wrong
