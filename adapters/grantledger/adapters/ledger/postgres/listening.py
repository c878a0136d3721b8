"""Hears of other replicas' appends, so that waiters need not poll for them.

One connection of its own. While it is down the ledger polls as often as it would
without; when it goes and when it comes back, whoever waits looks once.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import psycopg
from psycopg import sql

from grantledger.adapters.ledger.postgres.connections import Connection, Place
from grantledger.domain.errors import ConfigurationError

PAUSE_SECONDS = 0.5
CHECK_SECONDS = 10.0


def can_listen(place: Place) -> bool:
    """Tell whether the server can be reached there now; if not, it may be later.

    Raises:
        ConfigurationError: a pooler is there, behind which nothing would be heard.
    """
    with suppress(psycopg.Error), place.connect():
        return True
    return False


class Listener:
    """A thread that listens; close it to end it.

    Args:
        changed: called in the thread with a grant that has changed, or with None
            where any may have.
    """

    def __init__(self, place: Place, changed: Callable[[UUID | None], None]) -> None:
        self._place = place
        self._changed = changed
        self._listening = False
        self._closing = threading.Event()
        # Written to once, to wake a thread that waits for the socket.
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(
            target=self._run, name="grantledger-listener", daemon=True
        )
        self._thread.start()

    @property
    def listening(self) -> bool:
        """Whether appends of other replicas are heard of now."""
        return self._listening

    def close(self) -> None:
        """Stop listening; a second time it does nothing."""
        if self._closing.is_set():
            return  # the pipe is closed, and its number may be another file's by now
        self._closing.set()
        os.write(self._wake_write, b"x")
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _run(self) -> None:
        while not self._closing.is_set():
            # A pooler may have come between since the ledger was opened.
            with (
                suppress(psycopg.Error, OSError, ConfigurationError),
                self._place.connect() as connection,
            ):
                self._listen(connection)
            if self._listening:
                self._listening = False
                # Whoever waits to be told has to look for itself from now on.
                self._changed(None)
            self._closing.wait(PAUSE_SECONDS)

    def _listen(self, connection: Connection) -> None:
        channel = sql.Identifier(self._place.channel)
        connection.execute(sql.SQL("LISTEN {}").format(channel))
        self._listening = True
        self._changed(None)  # what was committed before was not heard of
        while not self._closing.is_set():
            readable, _, _ = select.select(
                [connection.fileno(), self._wake_read], [], [], CHECK_SECONDS
            )
            if not readable:
                connection.execute("SELECT 1")  # a dead peer says nothing by itself
            for said in connection.notifies(timeout=0):
                self._tell(said.payload)

    def _tell(self, payload: str) -> None:
        if not payload:
            self._changed(None)
        for grant_id in filter(None, payload.split(",")):
            with suppress(ValueError):  # not from a ledger
                self._changed(UUID(hex=grant_id))
