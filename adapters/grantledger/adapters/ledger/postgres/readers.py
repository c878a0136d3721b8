"""The connections that read: kept open, and made anew when they were cut off.

A server that cannot be reached is not asked again for `AGAIN_SECONDS`: whoever comes
meanwhile is told what the last one was told. So a crowd does not wait for one time-out
after the other, and is served as soon as the server is back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from grantledger.adapters.ledger.postgres.connections import Connection, Place

AGAIN_SECONDS = 0.25

CUT_OFF = (errors.AdminShutdown, errors.CrashShutdown)
"""The server has ended the session; another may be had."""


@dataclass(frozen=True, slots=True)
class _Failure:
    error: psycopg.Error
    at: float


class Readers:
    """Lends connections; there are as many as threads that read at once.

    Args:
        monotonic: seconds that no clock step moves.
    """

    def __init__(self, place: Place, monotonic: Callable[[], float]) -> None:
        self._place = place
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._failure: _Failure | None = None

    @contextmanager
    def connection(self) -> Generator[Connection]:
        """Lend a connection; one that is not fit for the next is closed.

        Raises:
            psycopg.OperationalError: the server cannot be reached, or refuses.
        """
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connected()
        try:
            yield connection
        finally:
            if connection.info.transaction_status == TransactionStatus.IDLE:
                with self._lock:
                    self._idle.append(connection)
            else:
                connection.close()

    def close(self) -> None:
        """Close what nobody has."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _connected(self) -> Connection:
        failure = self._failure
        if failure is not None and self._monotonic() - failure.at < AGAIN_SECONDS:
            raise type(failure.error)(*failure.error.args) from failure.error
        try:
            connection = self._place.connect()
        except CUT_OFF:
            raise
        except psycopg.Error as error:
            self._failure = _Failure(error, self._monotonic())
            raise
        self._failure = None
        return connection
