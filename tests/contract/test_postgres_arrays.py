"""Arrays as they are sent arrive as what they were, on a real server."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grantledger.adapters.ledger.postgres.arrays import packed
from tests.contract.stores import PostgresStore

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
KINDS = {
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "bytea": st.binary(max_size=300),
    "text": TEXTS,
    "uuid": st.uuids(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_array_arrives_as_it_was(dsn: str, kind: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:

        @settings(
            max_examples=50, suppress_health_check=[HealthCheck.differing_executors]
        )
        @given(st.lists(st.none() | KINDS[kind], max_size=20))
        def arrives(values: list[object]) -> None:
            query = f"SELECT %b::{kind}[]".encode()
            found = connection.execute(query, [packed(kind, values)]).fetchone()
            assert found == (values,)

        arrives()


def test_a_uuid_may_be_given_as_text(dsn: str) -> None:
    value = UUID(int=7)
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "SELECT %b::uuid[]", [packed("uuid", [str(value)])]
        ).fetchone()
    assert found == ([value],)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bigint", 2**63),
        ("bigint", "7"),
        ("bytea", 7),
        ("bytea", "text"),
        ("text", b"bytes"),
        ("text", "nul\0"),
        ("uuid", 7),
    ],
)
def test_a_value_of_another_kind_is_refused_before_it_is_sent(
    kind: str, value: object
) -> None:
    with pytest.raises(psycopg.DataError):
        packed(kind, [value])


def test_a_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(UnicodeError):
        packed("text", ["\ud800"])


def test_one_prepared_statement_serves_every_append(postgres: PostgresStore) -> None:
    """Full and empty arrays in any mixture: else each would be prepared on its own."""
    query = "SELECT %b::text[], %b::bigint[]"
    with postgres.place.connect() as connection:
        for texts, numbers in [(["a"], [1]), ([], [1]), (["a"], []), ([], [])] * 4:
            values = [packed("text", texts), packed("bigint", numbers)]
            assert connection.execute(query, values).fetchone() == (texts, numbers)
        prepared = connection.execute(
            "SELECT count(*) FROM pg_prepared_statements"
            " WHERE statement LIKE 'SELECT $1%'"
        ).fetchone()
    assert prepared == (1,)
