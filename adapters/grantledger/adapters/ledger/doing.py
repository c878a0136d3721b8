"""How a part of a store's ledger reads and writes, apart from the event loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
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


class Doing(ABC):
    """A part of a store's ledger, which says how it reads and writes."""

    @abstractmethod
    def _read(self, work: Callable[[Cursor], T]) -> Awaitable[T]:
        """Return what the work reads, in one transaction apart from the event loop."""

    @abstractmethod
    def _in_thread(self, work: Callable[[], T]) -> Awaitable[T]:
        """Return what the work gives, apart from the event loop."""
