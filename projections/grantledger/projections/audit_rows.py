"""The fold from a leaf to the rows of the audit trail.

What a row says that its own leaf does not, such as whose grant it is or which token a
hand-out gave, is in an earlier event of the grant's stream: `Streams` finds that one.
So a row never depends on rows before it, and any range of leaves can be folded alone.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from grantledger.domain.audit import (
    OF_EVENT,
    AuditOutcome,
    AuditPosition,
    AuditRow,
    Fact,
    node_and_build,
)
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import (
    Erased,
    Exchanged,
    LateAnswerKept,
    Provisioned,
    ReauthorizationRequired,
    RedemptionFailed,
    RedemptionIntended,
    Revoked,
    Rotated,
    UpstreamRevocationAbandoned,
    UpstreamRevocationFailed,
)
from grantledger.domain.journal import AccessEntry, AccessPruned, AccessRecorded
from grantledger.domain.values import (
    ERASED_TEXT,
    AbandonReason,
    FailureClass,
    Outcome,
    TokenFingerprint,
    TokenKind,
)
from grantledger.projections.audit_folded import (
    Folded,
    Logged,
    Streams,
    known,
    mark_of,
    marked,
)
from grantledger.projections.audit_ledger_rows import of_ledger
from grantledger.projections.audit_trail import (
    JOURNAL_EVENTS,
    entry_facts,
    entry_words,
)
from grantledger.projections.audit_words import Mark, tell

MAX_ATTEMPTS_BACK = 16
"""Intents that are looked at for the one that an answer names."""

OF_ENTRIES = {
    Outcome.HANDED_OUT: AuditOutcome.SUCCESS,
    Outcome.DENIED: AuditOutcome.DENIED,
    Outcome.WITHHELD: AuditOutcome.DENIED,
    Outcome.EXCHANGE_INTENDED: AuditOutcome.SUCCESS,
    Outcome.EXCHANGE_FAILED: AuditOutcome.FAILED,
    Outcome.SUPPRESSED: AuditOutcome.DENIED,
    Outcome.GIVEN_BACK: AuditOutcome.SUCCESS,
    Outcome.AUDIT_READ: AuditOutcome.SUCCESS,
    Outcome.EVENT_ACKNOWLEDGED: AuditOutcome.SUCCESS,
    Outcome.EVENT_ABANDONED: AuditOutcome.FAILED,
}
"""How each journal entry has ended, unless its reason says that nobody knows."""

_WITH_GENERATION = (Provisioned, RedemptionIntended, Rotated, Exchanged)


def rows_of(
    logged: Logged,
    streams: Streams,
    numbers: Collection[int] | None = None,
    *,
    words: bool = True,
) -> list[Folded]:
    """Return the rows of a leaf, in order; of one that was pruned there are none.

    Args:
        logged: the leaf; what an erasure destroyed has stand-ins.
        streams: of the ledger that it is of.
        numbers: of a journal event, only the entries with these numbers.
        words: journal entries with what people read, which is stored nowhere.
    """
    event = logged.event
    if isinstance(event, AccessPruned):
        return []
    if isinstance(event, AccessRecorded):
        return [
            _of_entry(logged, event, number, entry, streams, words=words)
            for number, entry in enumerate(event.entries)
            if numbers is None or number in numbers
        ]
    if isinstance(event, GrantEvent):
        return [_of_grant(logged, event, streams)]
    return [of_ledger(logged, event)]


# -- grants


class _Before:
    """What earlier events say, for the words of one."""

    def __init__(self, event: GrantEvent, streams: Streams) -> None:
        self._event = event
        self._streams = streams

    @property
    def begun(self) -> bool:
        return self._event.originator_version > 1

    def intent(self, attempt_id: UUID | None) -> RedemptionIntended | None:
        version = self._event.originator_version
        for _ in range(MAX_ATTEMPTS_BACK if attempt_id else 0):
            found = self._streams.last(
                self._event.originator_id, version, (RedemptionIntended,)
            )
            if not isinstance(found, RedemptionIntended):
                return None
            if found.attempt_id == attempt_id:
                return found
            version = found.originator_version
        return None

    def presented(self, attempt_id: UUID) -> TokenFingerprint | None:
        found = self.intent(attempt_id)
        return None if found is None else found.fingerprint

    def held(self) -> TokenFingerprint | None:
        found = self.last(Provisioned, Rotated)
        if isinstance(found, Provisioned | Rotated):
            return found.fingerprint
        return None

    def owed(self, ids: tuple[str, ...]) -> list[Mark]:
        return self._streams.owed(self._event.originator_id, ids)

    def last(self, *kinds: type[GrantEvent]) -> GrantEvent | None:
        event = self._event
        return self._streams.last(event.originator_id, event.originator_version, kinds)

    def generation(self) -> int:
        found = self._event
        if not hasattr(found, "generation"):
            before = self.intent(getattr(found, "attempt_id", None))
            found = before or self.last(*_WITH_GENERATION) or found
        said: int = getattr(found, "generation", 0)
        return said


def _of_grant(logged: Logged, event: GrantEvent, streams: Streams) -> Folded:
    before = _Before(event, streams)
    telling = tell(event, before)
    first = event if isinstance(event, Provisioned) else None
    first = first or streams.first(event.originator_id)
    consent = (
        event
        if isinstance(event, Provisioned)
        else streams.consent(event.originator_id, logged.index)
    )
    attempt = getattr(event, "attempt_id", None)
    parent = None
    if isinstance(event, Rotated):
        parent = event.parent_fingerprint
    elif isinstance(event, Exchanged | LateAnswerKept) and attempt is not None:
        parent = before.presented(attempt)
    facts: dict[str, Fact] = {"version": event.originator_version}
    if attempt is not None:
        facts["causation_id"] = str(attempt)
    node, build = node_and_build(event.node)
    row = AuditRow(
        at=AuditPosition(logged.index, OF_EVENT),
        event_id=event.event_id,
        event=type(event).__name__,
        outcome=_outcome_of(event),
        occurred_at=event.timestamp,
        recorded_at=logged.recorded_at,
        stream=event.originator_id,
        stream_seq=event.originator_version,
        request_id=event.request_id,
        node=node,
        build=build,
        policy=event.policy,
        grant_id=event.originator_id,
        provider=(
            event.provider
            if isinstance(event, Provisioned)
            else streams.provider(event.originator_id)
        ),
        subject=known(first.subject) if first else None,
        label=known(first.label) if first else None,
        client_id=consent.client_id if consent else None,
        actor=event.by,
        actor_kind=event.actor_kind,
        generation=before.generation(),
        mark=marked(telling.token),
        parent=mark_of(TokenKind.REFRESH, parent),
        jti=known(getattr(event, "jti", None)),
        scopes=telling.scopes,
        audience=getattr(event, "audience", None),
        expires_at=_expiry(event),
        reason=_reason(event),
        detail=_detail(event),
        what=telling.what,
        facts=facts | dict(telling.facts),
    )
    owner = None if isinstance(event, Erased) else event.originator_id
    return Folded(row, owner, row.scopes, row.actor_kind)


def _outcome_of(event: GrantEvent) -> AuditOutcome:
    match event:
        case RedemptionFailed(failure=FailureClass.AMBIGUOUS):
            return AuditOutcome.UNKNOWN
        case UpstreamRevocationAbandoned(reason=AbandonReason.UNKNOWN_EXPOSURE):
            return AuditOutcome.UNKNOWN
        case (
            RedemptionFailed()
            | ReauthorizationRequired()
            | UpstreamRevocationFailed()
            | UpstreamRevocationAbandoned()
        ):
            return AuditOutcome.FAILED
        case _:
            return AuditOutcome.SUCCESS


def _reason(event: GrantEvent) -> str | None:
    """Return the enumerated word of an event; it stands in the clear."""
    for name in ("reason", "failure", "purpose"):
        said = getattr(event, name, None)
        if said is not None:
            return str(said)
    return None


def _detail(event: GrantEvent) -> str | None:
    match event:
        case Revoked():
            return known(event.reason_text)
        case ReauthorizationRequired():
            return known(event.evidence)
        case RedemptionFailed():
            said = [event.error, event.description]
            return ": ".join(t for t in said if t and t != ERASED_TEXT) or None
        case UpstreamRevocationFailed():
            return known(event.error)
        case _:
            return None


def _expiry(event: GrantEvent) -> datetime | None:
    match event:
        case Provisioned():
            return event.refresh_expires_at
        case Rotated() | Exchanged():
            return event.expires_at
        case LateAnswerKept():
            return event.access_expires_at or event.refresh_expires_at
        case _:
            return None


# -- the journal


def _of_entry(
    logged: Logged,
    event: AccessRecorded,
    number: int,
    entry: AccessEntry,
    streams: Streams,
    *,
    words: bool,
) -> Folded:
    private = entry.private
    grant_id = entry.grant_id
    first = streams.first(grant_id) if grant_id else None
    consent = streams.consent(grant_id, logged.index) if grant_id else None
    issued = None
    if grant_id is not None and entry.token_ref is not None:
        issued = streams.issued(grant_id, entry.token_ref)
    mark = private.fingerprint if private else None
    jti = private.jti if private else None
    clear = entry.scopes
    if issued is not None:
        mark, jti, clear = issued.fingerprint, issued.jti, issued.scopes
    asked = private.scopes_asked if private else ()
    subject = first.subject if first else private.subject if private else None
    outcome = OF_ENTRIES[entry.outcome]
    if outcome is AuditOutcome.FAILED and entry.reason == FailureClass.AMBIGUOUS:
        outcome = AuditOutcome.UNKNOWN
    actor = private.actor if private else None
    provider = entry.provider
    if not provider and grant_id is not None:
        provider = streams.provider(grant_id)
    node, build = node_and_build(event.node)
    row = AuditRow(
        at=AuditPosition(logged.index, number),
        event_id=event.event_id,
        event=JOURNAL_EVENTS[entry.outcome],
        outcome=outcome,
        occurred_at=entry.at,
        recorded_at=logged.recorded_at,
        stream=event.originator_id,
        stream_seq=event.originator_version,
        request_id=entry.request_id,
        node=node,
        build=build,
        policy=entry.policy,
        grant_id=grant_id,
        provider=provider,
        subject=known(subject),
        label=known(first.label) if first else None,
        client_id=consent.client_id if consent else None,
        caller=entry.caller,
        actor=actor,
        actor_kind=actor.kind if actor else None,
        generation=entry.generation,
        mark=mark_of(TokenKind.ACCESS, mark),
        jti=known(jti),
        scopes=clear or asked,
        audience=entry.audience,
        expires_at=entry.expires_at,
        reason=entry.reason,
        detail=private.detail if private else None,
        what=entry_words(entry) if words else "",
        facts=_entry_facts(entry) if words else {},
    )
    return Folded(row, grant_id, clear, None)


def _entry_facts(entry: AccessEntry) -> dict[str, Fact]:
    private = entry.private
    facts: dict[str, Fact] = dict(entry_facts(entry))
    if entry.token_ref is not None:
        facts["token_version"] = entry.token_ref
    if private is not None and private.scopes_asked:
        facts["scopes_asked"] = private.scopes_asked
    if private is not None and private.audience_asked is not None:
        facts["audience_asked"] = private.audience_asked
    return facts
