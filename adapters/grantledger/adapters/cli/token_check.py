"""The index of tokens against the log: which token is whose, as the leaves say.

A row that is missing hides a token from `trace` and from incidents; a row too many
blames a grant for a token that it never held. Neither makes a token leave.
"""

from __future__ import annotations

from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger.reading import log_size
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.adapters.ledger.token_rows import TokenRow
from grantledger.domain.errors import IntegrityError
from grantledger.domain.values import ERASED_TEXT

LEAVES_AT_ONCE = 1_000


async def check_tokens(ledger: StoredLedger) -> int:
    """Compare every row with the leaf that it stands for; return how many there are.

    In one state of the store, a portion of the log at a time. Leaves from before there
    was an index may be waiting for their rows.

    Raises:
        IntegrityError: names the leaf of the first row that is missing or another.
    """
    return await ledger.published.in_one_state(lambda c: _checked(ledger, c))


def _checked(ledger: StoredLedger, c: Cursor) -> int:
    size = log_size(c)
    c.execute("SELECT next_index, end_index FROM token_index_missing")
    waiting = c.fetchone() or (0, 0)
    count = 0
    for start in range(0, size, LEAVES_AT_ONCE):
        end = min(start + LEAVES_AT_ONCE, size)
        found = _rows(c, start, end)
        # Of an erased grant the log tells no fingerprint, and the index holds none.
        meant = {
            row
            for row in ledger.token_rows(c, start, end)
            if row.fingerprint != ERASED_TEXT
        }
        for row in sorted(meant ^ found):
            if row in found or not waiting[0] <= row.leaf_index < waiting[1]:
                raise _finding(row, there=row in found)
        count += len(found)
    c.execute(
        "SELECT min(leaf_index), max(leaf_index) FROM token_index"
        " WHERE leaf_index < 0 OR leaf_index >= ?",
        (size,),
    )
    beyond = c.fetchone()
    if beyond[0] is not None:
        raise IntegrityError(
            f"the index of tokens names leaf {beyond[0]}; there are {size}"
        )
    return count


def _rows(c: Cursor, start: int, end: int) -> set[TokenRow]:
    c.execute(
        "SELECT leaf_index, entry, kind, fingerprint, grant_id, generation"
        " FROM token_index WHERE leaf_index >= ? AND leaf_index < ?",
        (start, end),
    )
    return {TokenRow(*row) for row in c.fetchall()}


def _finding(row: TokenRow, *, there: bool) -> IntegrityError:
    how = "holds a row that leaf {} does not say" if there else "lacks a row of leaf {}"
    return IntegrityError(
        f"the index of tokens {how.format(row.leaf_index)}: kind {row.kind}, "
        f"grant {row.grant_id}"
    )
