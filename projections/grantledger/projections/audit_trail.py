"""A grant's history as lines: who did what with which token, in log order.

Takes (leaf index, event) pairs as stored, journal events among them, and folds
them: a hand-out names its token by position, an obligation by id, and the fold
knows both. How a line looks is the reader's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import Exchanged
from grantledger.domain.grant_state import GrantState
from grantledger.domain.journal import AccessEntry, AccessRecorded
from grantledger.domain.values import (
    Actor,
    ActorKind,
    Outcome,
    Scopes,
    Source,
    TokenFingerprint,
    TokenKind,
)
from grantledger.projections.audit_words import (
    Fact,
    Mark,
    OfState,
    Telling,
    moment,
    spaced,
    tell,
    until,
)

__all__ = ["HistoryLine", "Mark", "each_line", "history_lines"]

JOURNAL_EVENTS: Mapping[Outcome, str] = {
    Outcome.HANDED_OUT: "HandedOut",
    Outcome.DENIED: "Denied",
    Outcome.WITHHELD: "Withheld",
    Outcome.EXCHANGE_INTENDED: "ExchangeIntended",
    Outcome.EXCHANGE_FAILED: "ExchangeFailed",
    Outcome.SUPPRESSED: "DenialsSuppressed",
    Outcome.GIVEN_BACK: "GivenBack",
    Outcome.AUDIT_READ: "AuditAccessed",
    Outcome.EVENT_ACKNOWLEDGED: "SecurityEventAcknowledged",
    Outcome.EVENT_ABANDONED: "SecurityEventAbandoned",
}
"""What the entries of an AccessRecorded event are called in a history."""

_SOURCES = {
    Source.CACHED: "From the cache",
    Source.FRESH: "Fresh from the server",
    Source.EXCHANGED: "Exchanged",
}


_WORDS = {
    Outcome.HANDED_OUT: "{source}{audience}{until}.",
    Outcome.DENIED: "Refused: {reason}.",
    Outcome.WITHHELD: "Recorded, then not given: {reason}.",
    Outcome.EXCHANGE_INTENDED: "A session token is about to be exchanged{audience}.",
    Outcome.EXCHANGE_FAILED: "No exchange{audience}: {reason}.",
    Outcome.SUPPRESSED: "{count} more refusals since {since}: counted, not kept.",
    Outcome.GIVEN_BACK: "Given back: {reason}.",
    Outcome.AUDIT_READ: "The record was read: {reason}.",
    Outcome.EVENT_ACKNOWLEDGED: "{caller} has acknowledged the security event.",
    Outcome.EVENT_ABANDONED: "{caller} was not told: {reason}.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """One thing that happened to a grant.

    Attributes:
        leaf: index in the log; entries of one journal event share it.
        event: the event's name, or the journal outcome's (`JOURNAL_EVENTS`).
        at: aware UTC.
        actor: id of who did it; the replica's name where nobody asked for it.
        acting_for: delegation, outermost first (RFC 8693 section 4.1).
        actor_kind: None where the record does not say.
        token: the token that it is about.
        what: in plain words.
        facts: what else the record says, for programs.
    """

    leaf: int
    event: str
    at: datetime
    actor: str
    actor_kind: ActorKind | None = None
    acting_for: tuple[str, ...] = ()
    scopes: Scopes = ()
    token: Mark | None = None
    what: str
    facts: Mapping[str, Fact] = field(default_factory=dict[str, Fact])


def history_lines(
    pairs: Iterable[tuple[int, GrantEvent | AccessRecorded]],
) -> list[HistoryLine]:
    """Return a grant's history, in the order of the pairs; see `each_line`."""
    return list(each_line(pairs))


def each_line(
    pairs: Iterable[tuple[int, GrantEvent | AccessRecorded]],
) -> Iterator[HistoryLine]:
    """Yield a grant's history, in the order of the pairs.

    Args:
        pairs: (leaf index, event), complete and in log order; of journal events, the
            grant's entries alone.
    """
    trail = _Trail()
    for leaf, event in pairs:
        if isinstance(event, AccessRecorded):
            for entry in event.entries:
                yield trail.entry(leaf, entry)
        else:
            yield trail.event(leaf, event)


class _Trail:
    """What has to be remembered from line to line."""

    def __init__(self) -> None:
        self._state: GrantState | None = None
        self._issued: dict[int, tuple[TokenFingerprint, Scopes]] = {}

    def event(self, leaf: int, event: GrantEvent) -> HistoryLine:
        """Return the line of a grant's own event."""
        telling = tell(event, OfState(self._state))
        # Provisioned begins a state; every other event needs one.
        self._state = event.evolve(self._state)  # type: ignore[arg-type]  # see above
        if isinstance(event, Exchanged):
            issued = (event.fingerprint, event.scopes)
            self._issued[event.originator_version] = issued
        by = _known(event.by)
        return HistoryLine(
            leaf=leaf,
            event=type(event).__name__,
            at=event.timestamp,
            actor=by.id,
            actor_kind=event.actor_kind,
            acting_for=by.act_chain,
            scopes=telling.scopes,
            token=telling.token,
            what=telling.what,
            facts={
                "version": event.originator_version,
                "event_id": str(event.event_id),
                "request_id": event.request_id,
                "node": event.node,
                "policy": event.policy,
                **telling.facts,
            },
        )

    def entry(self, leaf: int, entry: AccessEntry) -> HistoryLine:
        """Return the line of a journal entry."""
        private = entry.private
        mark: TokenFingerprint | None = private.fingerprint if private else None
        scopes = entry.scopes
        if entry.token_ref is not None:
            mark, scopes = self._issued.get(entry.token_ref, (mark, scopes))
        if not scopes and private is not None:
            scopes = private.scopes_asked
        telling = Telling(
            entry_words(entry),
            scopes=scopes,
            token=None if mark is None else Mark(TokenKind.ACCESS, mark),
        )
        actor = private.actor if private else None
        return HistoryLine(
            leaf=leaf,
            event=JOURNAL_EVENTS[entry.outcome],
            at=entry.at,
            actor=entry.caller,
            actor_kind=actor.kind if actor else None,
            acting_for=actor.act_chain if actor else (),
            scopes=telling.scopes,
            token=telling.token,
            what=telling.what,
            facts=entry_facts(entry),
        )


def _known(by: Actor | None) -> Actor:
    """Return the actor, or a stand-in for one that was erased."""
    return by or Actor(id="(erased)", kind=ActorKind.SYSTEM)


def entry_words(entry: AccessEntry) -> str:
    """Return what a journal entry says in plain words."""
    detail = entry.private.detail if entry.private else None
    source = _SOURCES[entry.source] if entry.source else "Handed out"
    since = moment(entry.since, entry.at) if entry.since else "before"
    words = _WORDS[entry.outcome].format(
        audience=f" for {entry.audience}" if entry.audience else "",
        caller=entry.caller,
        count=entry.count,
        reason=spaced(entry.reason),
        since=since,
        source=source,
        until=until(entry.expires_at, entry.at),
    )
    return f"{words} “{detail}”" if detail else words


def entry_facts(entry: AccessEntry) -> dict[str, Fact]:
    """Return what a journal entry says, for programs."""
    said: dict[str, Fact] = {
        "request_id": entry.request_id,
        "policy": entry.policy,
        "generation": entry.generation,
        "grant_version": entry.grant_version,
        "source": entry.source,
        "expires_at": entry.expires_at,
        "audience": entry.audience,
        "reason": entry.reason,
        "detail": entry.private.detail if entry.private else None,
        "jti": entry.private.jti if entry.private else None,
    }
    if entry.outcome is Outcome.SUPPRESSED:
        said |= {"count": entry.count, "since": entry.since}
    return {name: fact for name, fact in said.items() if fact is not None}
