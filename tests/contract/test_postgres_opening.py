"""How a ledger on PostgreSQL is made, found and refused."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from grantledger.adapters.bootstrap.ledgers import place_of
from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.ledger.postgres.connections import SILENT_SECONDS, Place
from grantledger.adapters.ledger.postgres.schema import migrate, newest_schema
from grantledger.adapters.settings import parse
from grantledger.domain.errors import (
    ConfigurationError,
    LedgerError,
    NewerSchema,
    Unavailable,
)
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from tests.contract.cut import Cut
from tests.contract.stores import PostgresStore, opened, proven
from tests.ledger.scene import denial, hand_out, intended, new_grant

CANARY = "canary-s3cret"


def test_many_migrations_at_once_make_one_ledger(dsn: str) -> None:
    """Replicas that start together do not trip over each other's tables."""
    store = PostgresStore(dsn)
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(migrate, [store.place] * 8))
    assert set(done) == {newest_schema()}
    assert proven(store) == 0


def test_a_database_without_a_ledger_says_how_to_make_one(dsn: str) -> None:
    with pytest.raises(LedgerError, match="`grantledger migrate` makes one"):
        PostgresStore(dsn).open()


def test_a_newer_schema_is_refused(postgres: PostgresStore) -> None:
    postgres.sql("UPDATE meta SET value = '99' WHERE name = 'schema'")
    with pytest.raises(
        NewerSchema, match=f"99; this program knows up to {newest_schema()}"
    ):
        postgres.open()
    with pytest.raises(NewerSchema):
        migrate(postgres.place)


def test_an_older_schema_names_the_command(postgres: PostgresStore) -> None:
    postgres.sql("UPDATE meta SET value = '0' WHERE name = 'schema'")
    with pytest.raises(LedgerError, match="grantledger migrate"):
        postgres.open()


def test_a_server_that_is_not_there_is_unavailable(postgres: PostgresStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"postgresql://me:{CANARY}@127.0.0.1:{port}/grants"
    with pytest.raises(Unavailable) as caught:
        replace(postgres, conninfo=url).open()
    assert f"postgresql://127.0.0.1:{port}/grants" in str(caught.value)
    with pytest.raises(Unavailable) as again:
        migrate(Place(url))
    assert CANARY not in f"{caught.value!r} {again.value!r} {Place(url)!r}"


@pytest.mark.parametrize(
    ("url", "schema", "field"),
    [
        (f"postgresql://me:{CANARY}@db/grants?nonsense=1", "s", "ledger.url"),
        ("postgresql://[::1/grants", "s", "ledger.url"),
        ("postgresql://db/grants", "", "ledger.schema"),
        ("postgresql://db/grants", "pg_x", "ledger.schema"),
        ("postgresql://db/grants", 's"; DROP', "ledger.schema"),
        ("postgresql://db/grants", "s" * 51, "ledger.schema"),
    ],
)
def test_a_malformed_place_is_refused_by_its_setting(
    url: str, schema: str, field: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Place(url, schema)
    assert caught.value.field == field
    assert CANARY not in repr(caught.value)


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg"]
)
def test_tls_options_and_schemes_are_passed_through(scheme: str) -> None:
    place = Place(
        f"{scheme}://me@db:5433/grants?sslmode=verify-full&sslrootcert=ca.pem"
    )
    options = place.options()
    assert (options["sslmode"], options["sslrootcert"]) == ("verify-full", "ca.pem")
    assert place.name == "postgresql://db:5433/grants schema grantledger"


@pytest.mark.parametrize(
    "said",
    [
        f"host=/nowhere dbname=grants password={CANARY}",
        f"dbname = grants user=me password={CANARY} host=/nowhere",
    ],
)
def test_a_place_in_libpqs_own_words_is_no_files_name(said: str) -> None:
    """Its password would stand in the error that there is no such file."""
    settings = parse(f'[ledger]\nurl = "{said}"', Path("/"), {})
    place = place_of(settings)
    assert place is not None
    with pytest.raises(Unavailable) as caught:
        migrate(place)
    assert CANARY not in repr(caught.value)
    assert place.name in str(caught.value)


def test_a_network_that_swallows_everything_ends_a_connection(
    postgres: PostgresStore,
) -> None:
    """Without it the system waits for a quarter of an hour."""
    with Cut(postgres.conninfo) as cut:
        place = Place(cut.conninfo, postgres.name)
        with (
            place.connect() as connection,
            socket.fromfd(
                connection.fileno(), socket.AF_INET, socket.SOCK_STREAM
            ) as its,
        ):
            level = socket.IPPROTO_TCP
            unanswered = its.getsockopt(level, socket.TCP_USER_TIMEOUT)
            idle = its.getsockopt(level, socket.TCP_KEEPIDLE)
            assert its.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert unanswered == SILENT_SECONDS * 1000
        assert idle < SILENT_SECONDS
        other = Place(f"{cut.conninfo} tcp_user_timeout=5000", postgres.name)
        assert other.options()["tcp_user_timeout"] == "5000"


def test_tls_that_the_server_lacks_is_not_given_up(postgres: PostgresStore) -> None:
    url = "host=127.0.0.1 port=1 dbname=x sslmode=verify-full sslrootcert=/nowhere"
    with pytest.raises(Unavailable):
        replace(postgres, conninfo=url).open()


class _Skewed(SystemClock):
    """A machine whose clock is minutes off, and is set while it runs."""

    minutes = -7

    def now(self) -> datetime:
        return super().now() + timedelta(minutes=self.minutes)


async def test_a_replicas_wrong_clock_moves_no_time_of_the_log(
    postgres: PostgresStore,
) -> None:
    """Leases and recorded times are the database's, whatever the replica believes."""
    clock = _Skewed()
    async with opened(postgres, clock=clock) as ledger:
        grant = new_grant()
        assert await ledger.append(grant) is AppendVerdict.COMMITTED
        clock.minutes = 30
        draft = intended(grant.fork())[0]
        soon = datetime.now(UTC) + timedelta(seconds=60)
        held = await ledger.append(draft, lease_over=soon)
        assert held is AppendVerdict.LEASE_HELD
        assert await ledger.append(draft) is AppendVerdict.COMMITTED
        said = await ledger.record(hand_out(draft.fork()))
        assert said.verdict is RecordVerdict.RECORDED
        await ledger.record(denial())
    off = postgres.sql(
        "SELECT max(abs(extract(epoch FROM now() -"
        " (convert_from(state, 'UTF8')::jsonb ->> 'recorded_at')::timestamptz)))"
        " FROM stored_events"
    )
    assert off[0][0] < 60
    assert proven(postgres) == 4


def test_leaves_with_another_time_than_the_servers_are_refused(
    postgres: PostgresStore,
) -> None:
    with postgres.place.connect() as connection:
        kinds = connection.execute(
            "SELECT proargtypes::regtype[]::text[] FROM pg_proc"
            " WHERE oid = 'ledger_append'::regproc"
        ).fetchone()
        assert kinds is not None
        rest = ", ".join(f"'{{}}'::{kind}" for kind in kinds[0][2:])
        for seconds, verdict in ((3, "skewed"), (-3, "skewed"), (1, "appended")):
            said = connection.execute(
                "SELECT verdict FROM ledger_append(0, clock_timestamp()"  # noqa: S608 - the test's own text
                f" + make_interval(secs => {seconds}), {rest})".encode()
            ).fetchone()
            assert said == (verdict,)


async def test_two_schemas_are_two_ledgers(dsn: str) -> None:
    """A tenant is a schema: nothing of one is seen in the other."""
    one, two = PostgresStore(dsn).migrated(), PostgresStore(dsn).migrated()
    async with opened(one) as first, opened(two) as second:
        grant = new_grant()
        await first.append(grant)
        assert await second.get(grant.id) is None
        assert await second.append(new_grant()) is AppendVerdict.COMMITTED
    assert (proven(one), proven(two)) == (1, 1)
