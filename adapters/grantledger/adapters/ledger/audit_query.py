"""What a filter asks of the audit trail's tables, in SQL.

A filter has drivers: indexes that hold the positions of every row it can match, each in
the order of the log. What else it says is looked at row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from grantledger.adapters.ledger.audit_table import Digest
from grantledger.adapters.ledger.rows import micros
from grantledger.domain.audit import AuditFilter, AuditOutcome


@dataclass(frozen=True, slots=True)
class Driver:
    """Where positions are taken from, in order.

    Attributes:
        table: `audit_rows` or `audit_terms`.
        where: SQL over `d`, the table; empty for all of it.
    """

    table: str = "audit_rows"
    where: str = ""
    values: tuple[object, ...] = ()


@dataclass(slots=True)
class Query:
    """Drivers, and what has to hold of a row `r`.

    Attributes:
        digest: makes a term.
        drivers: every row that fits is in one of them; empty: anywhere.
    """

    digest: Digest
    drivers: list[Driver] = field(default_factory=list[Driver])
    wheres: list[str] = field(default_factory=list[str])
    values: list[object] = field(default_factory=list[object])

    def narrow(self, where: str, *values: object) -> None:
        """Ask for one thing more."""
        self.wheres.append(where)
        self.values += values

    def drive(self, *drivers: Driver) -> None:
        """Look in these, unless there is a better place."""
        self.drivers = self.drivers or list(drivers)

    def column(self, name: str, value: str | None, *, driver: bool = False) -> None:
        """Ask for a column's value; `driver`: it has an index."""
        if value is not None:
            self.narrow(f"r.{name} = ?", value)
            if driver:
                self.drive(Driver(where=f"d.{name} = ?", values=(value,)))

    def term(self, kind: str, value: str | None) -> None:
        """Ask for something personal."""
        if value is not None:
            term = self.digest((kind, value))
            self.narrow(_TERM, term)
            self.drive(_by_term(term))


_TERM = (
    "EXISTS (SELECT 1 FROM audit_terms t WHERE t.side = r.side"
    " AND t.leaf_index = r.leaf_index AND t.entry = r.entry AND t.term = ?)"
)


def query_of(
    wanted: AuditFilter, digest: Digest, inside: str, grants: Sequence[UUID] | None
) -> Query:
    """Return how rows are found.

    Args:
        wanted: which.
        digest: makes a term.
        inside: SQL for whether the first text is in the second, as the store says it.
        grants: of the subject that is asked for, None where none is.
    """
    query = Query(digest)
    # The best first: what few rows have.
    query.column("request_id", wanted.request_id, driver=True)
    query.term("token", wanted.fingerprint)
    query.column(
        "grant_id", wanted.grant_id.hex if wanted.grant_id else None, driver=True
    )
    _subject(query, wanted, grants or ())
    query.term("address", wanted.address)
    _actor(query, wanted.actor)
    _outcome(query, wanted.outcome)
    query.column("event", wanted.event, driver=True)
    query.column("caller", wanted.caller, driver=True)
    query.column("provider", wanted.provider)
    if wanted.scope is not None:
        said = inside.format("' ' || ? || ' '", "' ' || r.scopes || ' '")
        term = digest(("scope", wanted.scope))
        query.narrow(f"({said} OR {_TERM})", wanted.scope, term)
    if wanted.recorded_from is not None:
        query.narrow("r.recorded_at >= ?", micros(wanted.recorded_from))
    if wanted.recorded_until is not None:
        query.narrow("r.recorded_at < ?", micros(wanted.recorded_until))
    query.drivers = query.drivers or [Driver()]
    return query


def _actor(query: Query, name: str | None) -> None:
    if name is not None:
        term = query.digest(("actor", name))
        query.narrow(f"(r.caller = ? OR {_TERM})", name, term)
        query.drive(Driver(where="d.caller = ?", values=(name,)), _by_term(term))


def _outcome(query: Query, outcome: AuditOutcome | None) -> None:
    if outcome not in {None, AuditOutcome.SUCCESS}:
        # The index has no more than the others.
        where = "d.outcome = ? AND d.outcome <> 'success'"
        query.drive(Driver(where=where, values=(str(outcome),)))
    query.column("outcome", None if outcome is None else str(outcome))


def _subject(query: Query, wanted: AuditFilter, grants: Sequence[UUID]) -> None:
    if wanted.provider is None or wanted.subject is None:
        return
    ids = [grant_id.hex for grant_id in grants]
    found = [Driver(where="d.grant_id = ?", values=(one,)) for one in ids]
    wheres = [f"r.grant_id IN ({','.join('?' * len(ids))})"] if ids else []
    values: list[object] = [*ids]
    if wanted.label is None:
        # What was asked for a user without a grant names no label.
        term = query.digest(("subject", wanted.provider, wanted.subject))
        wheres.append(f"(r.grant_id IS NULL AND {_TERM})")
        values.append(term)
        found.append(_by_term(term))
    query.narrow(f"({' OR '.join(wheres) or '1 = 0'})", *values)
    query.drive(*found or [Driver(where="1 = 0")])


def _by_term(term: bytes) -> Driver:
    return Driver("audit_terms", "d.term = ?", (term,))
