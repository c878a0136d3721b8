"""The audit trail against the log: every row, and what it is found by."""

from __future__ import annotations

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import IntegrityError

_WORDS = {
    "missing": "is missing from",
    "extra": "is too many in",
    "changed": "was changed in",
    "terms": "is found by other things than it says in",
}


async def check_trail(ledger: StoredLedger) -> int:
    """Compare every row of the trail with its leaf; return how many there are.

    Leaves whose rows are not made yet are not looked at.

    Raises:
        IntegrityError: names the first leaf and entry whose row is missing or another.
    """
    done = await ledger.compare_audit(lambda _done, _of: None)
    if done.differences:
        leaf_index, entry, what = done.differences[0]
        raise IntegrityError(
            f"leaf {leaf_index}, entry {entry}, {_WORDS[what]} the audit trail; "
            f"{done.differing} rows differ, and `grantledger rebuild audit` makes "
            "it again"
        )
    return done.rows
