"""What probes ask of every store."""

from __future__ import annotations

from grantledger.adapters.ledger.stored_ledger import StoredLedger


async def test_a_ledger_tells_its_schema_and_the_keys_it_was_written_with(
    ledger: StoredLedger,
) -> None:
    standing = await ledger.standing()
    assert standing.schema == standing.newest >= 1
    assert standing.key_checks
    assert ledger.failing is False
