"""How a part of a store's ledger reads and writes, apart from the event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from eventsourcing.persistence import Cursor

T = TypeVar("T")


class Reads(Protocol):
    """Reads in a transaction of the store, apart from the event loop."""

    def __call__(self, work: Callable[[Cursor], T]) -> Awaitable[T]:
        """Return what the work reads."""
        ...


class InThread(Protocol):
    """Does work of the store, apart from the event loop."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]:
        """Return what the work gives."""
        ...
