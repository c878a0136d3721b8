"""What all questions to the audit trail have in common: each sees rows, and answers.

An inquiry sees rows in the order of the log, one at a time, and remembers what its
answer needs, not the rows. Which questions there are stands in `questions`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar, TypeAlias
from uuid import UUID

from grantledger.domain.audit import MAX_ADDRESS_LENGTH, AuditFilter, AuditRow, Fact
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.fleet import check_text, check_window
from grantledger.domain.grant_state import GrantState
from grantledger.domain.values import MAX_NAME_LENGTH, MAX_SUBJECT_LENGTH

MAX_LINES = 1_000
"""Lines of one answer; what is left out is said."""

DEFAULT_DAYS = 90
MAX_DAYS = 36_500
NOBODY = "-"

Cell: TypeAlias = "Fact | UUID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a question is about; which of these it needs, the question says.

    Attributes:
        grant_id: of one grant; `provider`, `subject` and `client_id` are its own then.
        at: the moment that a question turns on; aware UTC.
        since, until: when rows were recorded, from (inclusive) until (exclusive).
        caller: configured id of a service.
        address: as the broker saw it.
        key_id: of a fingerprint key.
        days: how long unused is too long.

    Raises:
        InvalidRequest: names the field and its limit.
    """

    grant_id: UUID | None = None
    provider: str | None = None
    subject: str | None = None
    client_id: str | None = None
    at: datetime | None = None
    since: datetime | None = None
    until: datetime | None = None
    caller: str | None = None
    address: str | None = None
    key_id: str | None = None
    days: int = DEFAULT_DAYS

    def __post_init__(self) -> None:
        """Refuse what is out of bounds."""
        check_text("provider", self.provider, MAX_NAME_LENGTH)
        check_text("subject", self.subject, MAX_SUBJECT_LENGTH)
        check_text("caller", self.caller, MAX_NAME_LENGTH)
        check_text("address", self.address, MAX_ADDRESS_LENGTH)
        check_text("key_id", self.key_id, MAX_NAME_LENGTH)
        check_window("recorded_from", self.since, "recorded_until", self.until)
        check_window("at", self.at, "recorded_until", None)
        if not 0 < self.days <= MAX_DAYS:
            raise InvalidRequest(
                f"days is {self.days}; the limit is 1 to {MAX_DAYS}", "days"
            )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the trail says to a question.

    Attributes:
        columns: names of the cells of each line.
        says: the answer in sentences; the last ones say what bounds it.
        more: lines that were left out.
    """

    columns: Sequence[str]
    lines: Sequence[Sequence[Cell]]
    says: Sequence[str]
    more: int = 0


class Inquiry(ABC):
    """One question under way.

    Attributes:
        needs: fields of `Asked` without which it is no question.
        now: its moment `at` is the present unless another is said.
        of_all: it compares rows with those before them, whosever they are: of some
            rows alone the answer would be wrong, and tell where the others are.

    Raises:
        InvalidRequest: names the field that is missing.
    """

    needs: ClassVar[Sequence[str]] = ()
    now: ClassVar[bool] = False
    of_all: ClassVar[bool] = False

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        for name in self.needs:
            if getattr(asked, name) is None:
                raise InvalidRequest(f"this question needs {name}", name)

    def wanted(self) -> AuditFilter:
        """Return which rows it has to see."""
        asked = self.asked
        return replace(self._of_grants(), caller=asked.caller, address=asked.address)

    def _of_grants(self) -> AuditFilter:
        """Return the rows of the time and the grant, whoever's doing they are."""
        asked = self.asked
        return AuditFilter(
            recorded_from=asked.since,
            recorded_until=asked.until,
            grant_id=asked.grant_id,
        )

    @abstractmethod
    def see(self, row: AuditRow) -> None:
        """Take note of a row."""

    def states(self) -> Sequence[tuple[UUID, int]]:
        """Return (grant, version) of each state that the answer needs beside rows."""
        return ()

    def know(self, state: GrantState, version: int) -> None:
        """Take note of such a state."""
        del state, version

    @abstractmethod
    def answer(self) -> Answer:
        """Return what all rows together say."""


@dataclass(slots=True)
class Span:
    """How often something was, first and last."""

    first: datetime
    last: datetime
    times: int = 0
    known: dict[str, None] = field(default_factory=dict[str, None])

    def add(self, at: datetime, times: int = 1) -> None:
        """Count it once more."""
        self.first = min(self.first, at)
        self.last = max(self.last, at)
        self.times += times


class Spans(dict[tuple[Cell, ...], Span]):
    """Spans by what they are of, in the order in which it first came."""

    def add(self, key: tuple[Cell, ...], at: datetime, times: int = 1) -> Span:
        """Count it once more; return its span."""
        span = self.setdefault(key, Span(at, at))
        span.add(at, times)
        return span


class Found:
    """Lines as they are found: as many as an answer has, and how many there were."""

    def __init__(self) -> None:
        self.lines: list[Sequence[Cell]] = []
        self.count = 0

    def add(self, *line: Cell) -> None:
        """Count a line, and keep it if there is room."""
        self.count += 1
        if len(self.lines) < MAX_LINES:
            self.lines.append(line)

    @property
    def more(self) -> int:
        """Lines that are left out."""
        return self.count - len(self.lines)


def cut(lines: Sequence[Sequence[Cell]]) -> tuple[Sequence[Sequence[Cell]], int]:
    """Return as many lines as an answer has, and how many were left out."""
    return lines[:MAX_LINES], max(0, len(lines) - MAX_LINES)


def who_of(row: AuditRow) -> str:
    """Return who did it: the caller, else the actor."""
    if row.caller is not None:
        return row.caller
    return row.actor.id if row.actor else NOBODY


def address_of(row: AuditRow) -> str:
    """Return the address as the broker saw it."""
    return (row.actor.peer_ip if row.actor else None) or NOBODY


def agent_of(row: AuditRow) -> str:
    """Return the user agent as it was sent, untrusted."""
    return (row.actor.user_agent if row.actor else None) or NOBODY


def chain_of(row: AuditRow) -> tuple[str, ...]:
    """Return whom the caller acted for (RFC 8693 section 4.1)."""
    return row.actor.act_chain if row.actor else ()


def spread(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{count} {one if count == 1 else many or one + 's'}"
