"""Connections to the ledger's schema that keep acknowledged commits.

Every transaction has the schema alone in its search path, waits a bounded time for
locks, and asks for a durable commit. A transaction that a dead replica has left open
gives its lock back after `IDLE_SECONDS`. A connection has these settings from its
beginning; behind a pooler, which gives every transaction another session, each
transaction brings its own and leaves none behind.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import psycopg
from eventsourcing.persistence import Cursor
from psycopg.conninfo import conninfo_to_dict

from grantledger.domain.errors import ConfigurationError

Connection = psycopg.Connection[tuple[Any, ...]]

DEFAULT_SCHEMA = "grantledger"
CONNECT_SECONDS = 5
LOCK_SECONDS = 5
IDLE_SECONDS = 10
STATEMENT_SECONDS = 30
SILENT_SECONDS = 20
"""How long a network may answer nothing until the connection counts as lost."""


WRITING = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

_SCHEME = re.compile(r"postgres(?:ql)?(?:\+[a-z0-9_.-]+)?://", re.IGNORECASE)
_PAIR = re.compile(r"(?:^|\s)(?:host|hostaddr|dbname|user|service)\s*=")
# It is part of a channel's name, of which PostgreSQL takes 63 bytes.
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,49}")


def is_url(text: str) -> bool:
    """Tell whether the text names a PostgreSQL database, in one of libpq's ways."""
    return _SCHEME.match(text) is not None or _PAIR.search(text) is not None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ledger is: a database, and a schema in it.

    Attributes:
        conninfo: a `postgresql://` URL or libpq's `key=value` text, as libpq takes
            it, TLS options (`sslmode`, `sslrootcert`, ...) included. It may hold a
            password, so it is not shown.
        schema: small letters, digits and `_`, at most 50.
        pooled: a pooler in transaction mode is between, such as pgbouncer.
        setting: which setting said where, for messages.

    Raises:
        ConfigurationError: one of the two is malformed.
    """

    conninfo: str = field(repr=False)
    schema: str = DEFAULT_SCHEMA
    pooled: bool = False
    setting: str = "ledger.url"

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
                f"{self.setting}: no PostgreSQL URL that libpq understands",
                self.setting,
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
        usual = {
            "application_name": "grantledger",
            "connect_timeout": CONNECT_SECONDS,
            "tcp_user_timeout": SILENT_SECONDS * 1000,
            "keepalives_idle": SILENT_SECONDS // 2,
            "keepalives_interval": SILENT_SECONDS // 4,
        }
        said = {**usual, **self._options(), "autocommit": True}
        # A statement prepared in one session is not there in the next.
        return {**said, "prepare_threshold": None} if self.pooled else said

    def connect(self) -> Connection:
        """Return a connection in the ledger's schema, outside any pool.

        Behind a pooler it has no settings outside `writing` and `reading`.

        Raises:
            psycopg.OperationalError: the server cannot be reached, or refuses.
            ConfigurationError: a pooler is between, and `pooled` does not say so.
        """
        connection: Connection = psycopg.connect(**self.options())
        try:
            self.prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def prepare(self, connection: Connection) -> None:
        """Give a connection the settings that the ledger relies on.

        Raises:
            ConfigurationError: see `connect`; no session has been changed.
        """
        if self.pooled:
            return
        # A pooler makes up the number that it tells its clients.
        pid = connection.info.backend_pid
        settings = self._settings(local=False)
        found = connection.execute(
            f"SELECT {settings} WHERE pg_backend_pid() = {pid}".encode()
        )
        if found.fetchone() is None:
            raise ConfigurationError(
                f"{self.setting} leads to a connection pooler: set ledger.pooler to"
                ' "transaction", and ledger.listen_url to the server itself',
                "ledger.pooler",
            )

    def writing(self, connection: Connection) -> AbstractContextManager[None]:
        """Run what follows in one READ COMMITTED transaction, durable on return."""
        return self._transaction(connection, WRITING)

    def reading(self, connection: Connection) -> AbstractContextManager[None]:
        """Run what follows in one transaction that sees one state and only reads."""
        return self._transaction(connection, READING)

    @contextmanager
    def _transaction(self, connection: Connection, begin: str) -> Generator[None]:
        if self.pooled:
            # One exchange, since it is one text.
            begin = f"{begin}; {self.settle}"
        connection.execute(begin.encode())
        try:
            yield
        except BaseException:
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK")
            raise
        if connection.execute("COMMIT").statusmessage != "COMMIT":
            raise psycopg.errors.InFailedSqlTransaction("nothing was committed")

    @property
    def settle(self) -> str:
        """The statement that gives the open transaction its settings."""
        return f"SELECT {self._settings(local=True)}"

    def _settings(self, *, local: bool) -> str:
        settings = {
            "search_path": f"'\"{self.schema}\", pg_temp'",
            "lock_timeout": f"'{LOCK_SECONDS}s'",
            "statement_timeout": f"'{STATEMENT_SECONDS}s'",
            "idle_in_transaction_session_timeout": f"'{IDLE_SECONDS}s'",
            # An operator may ask for more than `on`, never for less.
            "synchronous_commit": "CASE current_setting('synchronous_commit')"
            " WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END",
        }
        if not local:
            settings["default_transaction_isolation"] = "'read committed'"
        return ", ".join(
            f"set_config('{name}', {value}, {local})"
            for name, value in settings.items()
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
