"""PostgreSQL finds a token by the index of fingerprints, however many there are.

Of fingerprints it has no statistics, and a statement that is run often gets a plan that
knows no values: it was found by walking the index of places from its end.
"""

from __future__ import annotations

from itertools import count

from grantledger.adapters.ledger.fleet_reads import places_of
from tests.contract.stores import PostgresStore

ROWS = 30_000


def test_a_token_is_found_by_its_fingerprint(postgres: PostgresStore) -> None:
    numbers = count(1)
    asked = "".join(f"${next(numbers)}" if one == "?" else one for one in places_of(2))
    with postgres.place.connect() as connection:
        connection.execute(
            b"INSERT INTO token_index SELECT n, -1, 'access', 'hmac-sha256:k:' || n,"
            b" 'g', 1 FROM generate_series(1, %d) n" % ROWS
        )
        connection.execute(b"ANALYZE token_index")
        connection.execute(b"SET plan_cache_mode = force_generic_plan")
        connection.execute(f"PREPARE places AS {asked}".encode())
        rows = connection.execute(
            b"EXPLAIN EXECUTE places ('hmac-sha256:k:5', 'hmac-sha256:k:7', 500)"
        ).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert "token_index_fingerprint" in plan
    assert "Seq Scan" not in plan
