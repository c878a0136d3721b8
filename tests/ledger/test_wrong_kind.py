"""SQLite stores anything anywhere; none of it may look like a passing fault."""

from __future__ import annotations

import pytest

from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.domain.errors import IntegrityError
from tests.ledger.scene import Scene, new_grant


@pytest.mark.parametrize("value", ["x'ff'", "'text'", "NULL", "7", "'\ud7ff'"])
@pytest.mark.parametrize("column", ["entry", "field", "grant_id", "dek_id", "ct"])
async def test_a_value_of_the_wrong_kind_is_an_integrity_error(
    scene: Scene, ledger: SqliteLedger, column: str, value: str
) -> None:
    """SQLite stores anything anywhere; no such thing may look like a passing fault."""
    grant = new_grant()
    await ledger.append(grant)
    if value == "NULL":
        scene.sql("CREATE TABLE loose AS SELECT * FROM sealed")
        scene.sql("DROP TABLE sealed")
        scene.sql("ALTER TABLE loose RENAME TO sealed")
    scene.sql(f"UPDATE sealed SET {column}={value} WHERE leaf_index=0 AND field='by'")  # noqa: S608 - fixed texts
    with pytest.raises(IntegrityError):
        await ledger.replay(grant.id)
