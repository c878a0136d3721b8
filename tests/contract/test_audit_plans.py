"""Each filter of the audit trail has an index that answers it in order."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from grantledger.adapters.ledger.audit_query import Driver, query_of
from grantledger.domain.audit import AuditFilter, AuditOutcome
from grantledger.domain.values import TokenFingerprint
from tests.contract.stores import PostgresStore, SqliteStore


def digest(said: tuple[str, ...]) -> bytes:
    return "".join(said).encode()[:16].ljust(16, b"x")


FILTERS: list[tuple[dict[str, Any], str]] = [
    ({}, "audit_rows"),
    ({"request_id": "r"}, "audit_rows_request"),
    ({"fingerprint": TokenFingerprint("f"), "caller": "c"}, "audit_terms_term"),
    ({"grant_id": UUID(int=1)}, "audit_rows_grant"),
    ({"provider": "p", "subject": "s"}, "audit_terms_term"),
    ({"address": "192.0.2.1"}, "audit_terms_term"),
    ({"actor": "a"}, "audit_rows_caller"),
    ({"outcome": AuditOutcome.DENIED}, "audit_rows_outcome"),
    ({"outcome": AuditOutcome.SUCCESS}, "audit_rows"),
    ({"event": "Revoked"}, "audit_rows_event"),
    ({"caller": "c", "provider": "p"}, "audit_rows_caller"),
]


def driver(wanted: dict[str, Any]) -> Driver:
    return query_of(AuditFilter(**wanted), digest, "1=1", []).drivers[0]


def statement(one: Driver) -> str:
    where = f" AND {one.where}" if one.where else ""
    return (
        f"SELECT d.leaf_index, d.entry FROM {one.table} d WHERE d.side=0"  # noqa: S608 - constants only
        f" AND (d.leaf_index, d.entry) > (5, 0) AND (d.leaf_index, d.entry) <= (9, 0)"
        f"{where} ORDER BY d.leaf_index, d.entry LIMIT 10"
    )


@pytest.mark.parametrize(("wanted", "index"), FILTERS)
def test_a_file_goes_by_the_index_and_sorts_nothing(
    tmp_path_factory: pytest.TempPathFactory, wanted: dict[str, Any], index: str
) -> None:
    store = SqliteStore(tmp_path_factory.mktemp("plan") / "ledger.db")
    one = driver(wanted)
    plan = store.sql(f"EXPLAIN QUERY PLAN {statement(one)}", *one.values)
    said = " ".join(str(row[3]) for row in plan)
    assert "TEMP B-TREE" not in said
    if index != "audit_rows":
        assert f"INDEX {index} " in said
    else:
        assert "PRIMARY KEY" in said


@pytest.mark.parametrize(("wanted", "index"), FILTERS)
def test_a_server_goes_by_the_index_and_sorts_nothing(
    planned: PostgresStore, wanted: dict[str, Any], index: str
) -> None:
    one = driver(wanted)
    with planned.place.connect() as connection:
        connection.execute("SET enable_seqscan = off")
        connection.execute("SET enable_bitmapscan = off")
        text = statement(one).replace("?", "%s")
        plan = connection.execute(f"EXPLAIN {text}".encode(), one.values).fetchall()
    said = "\n".join(row[0] for row in plan)
    assert "Sort" not in said
    assert f"using {index if index != 'audit_rows' else 'audit_rows_pkey'} " in said


@pytest.fixture(scope="module")
def planned(dsn: str) -> PostgresStore:
    store = PostgresStore(dsn).migrated()
    # Statistics, so that the plan is that of a trail and not of an empty table.
    store.sql(
        "INSERT INTO audit_rows SELECT 0, n, -1, n, n, 'g' || n %% 500, 's', n,"
        " 'E' || n %% 30, CASE WHEN n %% 50 = 0 THEN 'denied' ELSE 'success' END, 'p',"
        " 'c' || n %% 40, NULL, 1, 'r' || n, 'n', '', NULL, NULL, '', NULL"
        " FROM generate_series(1, 3000) n"
    )
    store.sql(
        "INSERT INTO audit_terms SELECT 0, n, -1, decode(md5((n %% 700)::text), 'hex')"
        " FROM generate_series(1, 3000) n"
    )
    store.sql("ANALYZE audit_rows")
    store.sql("ANALYZE audit_terms")
    return store
