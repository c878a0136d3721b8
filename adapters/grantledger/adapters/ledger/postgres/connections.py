"""Connections to the ledger's schema that keep acknowledged commits.

Every connection has the schema alone in its search path, waits a bounded time for
locks, and asks for a durable commit. A transaction that a dead replica has left open
gives its lock back after `IDLE_SECONDS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import psycopg
from eventsourcing.persistence import Cursor
from psycopg import IsolationLevel, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from grantledger.domain.errors import ConfigurationError

Connection = psycopg.Connection[tuple[Any, ...]]

DEFAULT_SCHEMA = "grantledger"
CONNECT_SECONDS = 5
LOCK_SECONDS = 5
IDLE_SECONDS = 10
STATEMENT_SECONDS = 30
POOL_SECONDS = 5.0

_SCHEME = re.compile(r"postgres(?:ql)?(?:\+[a-z0-9_.-]+)?://", re.IGNORECASE)
# It is part of a channel's name, of which PostgreSQL takes 63 bytes.
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,49}")


def is_url(text: str) -> bool:
    """Tell whether the text names a PostgreSQL database."""
    return _SCHEME.match(text) is not None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ledger is: a database, and a schema in it.

    Attributes:
        conninfo: a `postgresql://` URL or libpq's `key=value` text, as libpq takes
            it, TLS options (`sslmode`, `sslrootcert`, ...) included. It may hold a
            password, so it is not shown.
        schema: small letters, digits and `_`, at most 50.

    Raises:
        ConfigurationError: one of the two is malformed.
    """

    conninfo: str = field(repr=False)
    schema: str = DEFAULT_SCHEMA

    def __post_init__(self) -> None:
        """Refuse what libpq would not take."""
        if _SCHEMA.fullmatch(self.schema) is None or self.schema.startswith("pg_"):
            raise ConfigurationError(
                "ledger.schema: small letters, digits and _, at most 50, and not pg_*",
                "ledger.schema",
            )
        self._options()

    def _options(self) -> Mapping[str, Any]:
        plain = _SCHEME.sub("postgresql://", self.conninfo, count=1)
        try:
            return conninfo_to_dict(plain)
        except psycopg.ProgrammingError:
            # `from None`: the cause quotes the URL, password and all.
            raise ConfigurationError(
                "ledger.url: no PostgreSQL URL that libpq understands", "ledger.url"
            ) from None

    @property
    def name(self) -> str:
        """Where it is, without user and password."""
        said = self._options()
        port = f":{said['port']}" if "port" in said else ""
        where = f"{said.get('host', '')}{port}/{said.get('dbname', '')}"
        return f"postgresql://{where} schema {self.schema}"

    @property
    def channel(self) -> str:
        """What is notified when a grant has changed."""
        return f"grantledger_{self.schema}"

    def options(self) -> dict[str, Any]:
        """Return the arguments of `psycopg.connect`."""
        usual = {"application_name": "grantledger", "connect_timeout": CONNECT_SECONDS}
        return {**usual, **self._options(), "autocommit": True}

    def connect(self) -> Connection:
        """Return a connection in the ledger's schema, outside any pool.

        Raises:
            psycopg.OperationalError: the server cannot be reached, or refuses.
        """
        connection: Connection = psycopg.connect(**self.options())
        try:
            self.prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def readers(self, size: int) -> ConnectionPool[Connection]:
        """Return an open pool of connections that read, each in one snapshot."""

        def prepare(connection: Connection) -> None:
            self.prepare(connection)
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            connection.read_only = True

        return ConnectionPool(
            kwargs=self.options(),
            min_size=1,
            max_size=size,
            timeout=POOL_SECONDS,
            reconnect_timeout=POOL_SECONDS,
            configure=prepare,
            open=True,
        )

    def prepare(self, connection: Connection) -> None:
        """Give a connection the settings that the ledger relies on."""
        settings = {
            "search_path": f'"{self.schema}", pg_temp',
            "lock_timeout": f"{LOCK_SECONDS}s",
            "statement_timeout": f"{STATEMENT_SECONDS}s",
            "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
            "default_transaction_isolation": "read committed",
        }
        connection.execute(
            sql.SQL("SELECT {}").format(
                sql.SQL(", ").join(
                    sql.SQL("set_config({}, {}, false)").format(name, value)
                    for name, value in settings.items()
                )
            )
        )
        # An operator may ask for more than `on`, such as remote_apply, never for less.
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')"
        )


def server_time(connection: Connection) -> datetime:
    """Return the time that the server reads now."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    if row is None:  # pragma: no cover - a SELECT of one value has one row
        raise psycopg.InterfaceError("no time")
    at: datetime = row[0]
    return at


class PgCursor(Cursor):
    """Takes the statements that all stores share: `?` stands for a value.

    No such statement has a question mark or a percent sign of another meaning.
    """

    def __init__(self, connection: Connection) -> None:
        self._cursor = connection.cursor()

    def execute(self, statement: str | bytes, params: Any = None) -> None:  # noqa: ANN401 - the library's
        """Execute a statement of ours, with its values."""
        self._cursor.execute(_marked(str(statement)), params)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows that are left."""
        return self._cursor.fetchall()

    def fetchone(self) -> Any:  # noqa: ANN401 - a row of whatever was asked for
        """Return the next row, None after the last."""
        return self._cursor.fetchone()


@cache
def _marked(statement: str) -> bytes:
    return statement.replace("?", "%s").encode()
