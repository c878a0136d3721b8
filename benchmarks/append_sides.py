"""What `benchmarks.appends` compares: each side appends until its time is over."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

TOPIC = "grantledger.user-grant.redemption-intended.v1"


@dataclass(frozen=True)
class Figures:
    """What one round of one side gave.

    Attributes:
        per_second: calls.
        events: stored a second; a call may store several.
        p50: of one call, in milliseconds; p99 likewise.
        client_us: processor time of an event in this process; see `appends`.
        server_us: the same, of the server.
    """

    per_second: float
    events: float
    p50: float
    p99: float
    stored: int
    client_us: float = 0.0
    server_us: float = 0.0


def figures(seconds: float, waits: list[float], stored: int | None = None) -> Figures:
    """Return the figures of calls that took so many seconds each.

    Args:
        seconds: of the round.
        waits: of each call.
        stored: events; None: one a call.
    """
    waits.sort()
    stored = len(waits) if stored is None else stored
    return Figures(
        len(waits) / seconds,
        stored / seconds,
        1000 * waits[len(waits) // 2],
        1000 * waits[min(len(waits) - 1, len(waits) * 99 // 100)],
        stored,
    )


class Side(ABC):
    """One way to append."""

    @abstractmethod
    def run(self, callers: int, seconds: float) -> Figures:
        """Append with so many callers for so long."""


Call = Callable[[], object]


class Threads(Side):
    """Sides with a thread a caller, and connections for one round only.

    Attributes:
        per_call: events that a call stores, on average.
    """

    per_call = 1.0

    @abstractmethod
    def callers(self, number: int) -> AbstractContextManager[list[Callable[[], Call]]]:
        """Yield what each caller prepares its next call with."""

    def run(self, callers: int, seconds: float) -> Figures:
        """Append with so many threads for so long; the first call is not counted."""
        together = threading.Barrier(callers)

        def call(prepare: Callable[[], Call]) -> tuple[float, list[float]]:
            waits: list[float] = []
            prepare()()
            together.wait()
            began = now = time.perf_counter()
            while now - began < seconds:
                work = prepare()
                start = time.perf_counter()
                work()
                now = time.perf_counter()
                waits.append(now - start)
            return now - began, waits

        with self.callers(callers) as prepared, ThreadPoolExecutor(callers) as pool:
            done = list(pool.map(call, prepared))
        spent = max(lasted for lasted, _ in done)
        every = [w for _, waits in done for w in waits]
        return figures(spent, every, round(len(every) * self.per_call))


class Plain:
    """A table of the shape of `stored_events`, and an event for it."""

    def __init__(self, conninfo: str, event_bytes: int) -> None:
        self.conninfo = conninfo
        self.state = os.urandom(event_bytes)
        self.hash = os.urandom(32)
        self.schema = f"plain_{uuid4().hex[:12]}"
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(
                sql.SQL(
                    "CREATE SCHEMA {0}; CREATE TABLE {0}.events ("
                    " notification_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
                    " originator_id uuid NOT NULL, originator_version bigint NOT NULL,"
                    " topic text NOT NULL, state bytea NOT NULL,"
                    " leaf_hash bytea NOT NULL,"
                    " UNIQUE (originator_id, originator_version))"
                ).format(sql.Identifier(self.schema))
            )


class PgBench(Side):
    """The shipped C client, one INSERT a transaction."""

    def __init__(self, plain: Plain, pgbench: Path) -> None:
        self._plain = plain
        self._pgbench = pgbench

    def run(self, callers: int, seconds: float) -> Figures:
        """Append with so many clients; its own log has each one's latency."""
        plain = self._plain
        said = conninfo_to_dict(plain.conninfo)
        script = (
            f"INSERT INTO {plain.schema}.events (originator_id, originator_version,"  # noqa: S608 - our own texts
            f" topic, state, leaf_hash) VALUES (gen_random_uuid(), 1, '{TOPIC}',"
            f" '\\x{plain.state.hex()}', '\\x{plain.hash.hex()}');"
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "insert.sql"
            path.write_text(script, encoding="utf-8")
            subprocess.run(  # noqa: S603 - the server's own program
                [
                    self._pgbench,
                    *("-n", "-M", "prepared", "-l", "-f", path),
                    *("-c", str(callers), "-j", str(min(callers, 2))),
                    *("-T", str(max(1, round(seconds)))),
                    *("-h", str(said.get("host", ""))),
                    *("-p", str(said.get("port", 5432))),
                    *("-U", str(said["user"]), "-d", str(said["dbname"])),
                ],
                cwd=folder,
                check=True,
                capture_output=True,
            )
            waits = [
                int(line.split()[2]) / 1e6
                for log in Path(folder).glob("pgbench_log*")
                for line in log.read_text(encoding="utf-8").splitlines()
            ]
        return figures(max(1, round(seconds)), waits)


class RawPsycopg(Threads):
    """psycopg 3, one INSERT and COMMIT an event."""

    def __init__(self, plain: Plain) -> None:
        self._plain = plain
        self._insert = (
            f"INSERT INTO {plain.schema}.events (originator_id, originator_version,"  # noqa: S608 - our own texts
            " topic, state, leaf_hash) VALUES (%s, %s, %s, %b, %b)"
        ).encode()

    @contextmanager
    def callers(self, number: int) -> Generator[list[Callable[[], Call]]]:
        """Yield callers with a connection each."""
        with ExitStack() as stack:
            yield [
                self._caller(
                    stack.enter_context(
                        psycopg.connect(self._plain.conninfo, autocommit=True)
                    )
                )
                for _ in range(number)
            ]

    def _caller(
        self, connection: psycopg.Connection[tuple[Any, ...]]
    ) -> Callable[[], Call]:
        plain = self._plain
        stream, versions = uuid4(), itertools.count(1)

        def prepare() -> Call:
            values = (stream, next(versions), TOPIC, plain.state, plain.hash)
            return lambda: connection.execute(self._insert, values, prepare=True)

        return prepare


def stock_options(conninfo: str) -> dict[str, Any]:
    """Return the library's settings for a schema of its own, which it does not make."""
    said = conninfo_to_dict(conninfo)
    schema = f"stock_{uuid4().hex[:12]}"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    return {
        "schema": schema,
        "dbname": str(said["dbname"]),
        "host": str(said["host"]),
        "port": str(said.get("port", 5432)),
        "user": str(said["user"]),
        "password": str(said.get("password", "")),
    }


class StockRecorder(Threads):
    """The library's recorder, one `insert_events` an event."""

    def __init__(self, conninfo: str, event_bytes: int) -> None:
        self._state = os.urandom(event_bytes)
        self._options = stock_options(conninfo)
        with closing(PostgresDatastore(**self._options)) as store:
            PostgresApplicationRecorder(store).create_table()

    @contextmanager
    def callers(self, number: int) -> Generator[list[Callable[[], Call]]]:
        """Yield callers with a stream each."""
        store = PostgresDatastore(**self._options, pool_size=number)
        with closing(store):
            recorder = PostgresApplicationRecorder(store)
            yield [self._caller(recorder) for _ in range(number)]

    def _caller(self, recorder: PostgresApplicationRecorder) -> Callable[[], Call]:
        stream, versions = uuid4(), itertools.count(1)

        def prepare() -> Call:
            events = [StoredEvent(stream, next(versions), TOPIC, self._state)]
            return lambda: recorder.insert_events(events)

        return prepare


class Noted(Aggregate):
    """Something that a text is noted for."""

    @event("Noted")
    def note(self, text: str) -> None:
        """Note it."""
        self.text = text


class StockSave(Threads):
    """The library's application.

    Args:
        conninfo: of the server.
        event_bytes: how large an event is.
        shape: how many events each save stores, over and over.
    """

    def __init__(
        self, conninfo: str, event_bytes: int, shape: tuple[int, ...] = (1,)
    ) -> None:
        self._shape = shape
        self.per_call = sum(shape) / len(shape)
        self._text = "x" * event_bytes
        self._options = stock_options(conninfo)

    @contextmanager
    def callers(self, number: int) -> Generator[list[Callable[[], Call]]]:
        """Yield callers with an aggregate each."""
        application: Application[UUID] = Application(
            {
                "PERSISTENCE_MODULE": "eventsourcing.postgres",
                "POSTGRES_POOL_SIZE": str(number),
                **{f"POSTGRES_{n.upper()}": v for n, v in self._options.items()},
            }
        )
        with closing(application):
            yield [self._caller(application) for _ in range(number)]

    def _caller(self, application: Application[UUID]) -> Callable[[], Call]:
        noted, times = Noted(), itertools.cycle(self._shape)

        def prepare() -> Call:
            for _ in range(next(times)):
                noted.note(self._text)
            return lambda: application.save(noted)

        return prepare
