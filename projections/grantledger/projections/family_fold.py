"""Follows the tokens of a grant through its history; see `token_family`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from grantledger.domain.audit import OF_EVENT
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import (
    Exchanged,
    LateAnswerKept,
    Provisioned,
    ReauthorizationRequired,
    RedemptionFailed,
    RedemptionIntended,
    Revoked,
    Rotated,
)
from grantledger.domain.grant_state import GrantState
from grantledger.domain.journal import AccessEntry, AccessRecorded
from grantledger.domain.values import (
    ERASED_TEXT,
    FailureClass,
    Outcome,
    Source,
    TokenFingerprint,
    TokenKind,
)
from grantledger.projections.token_family import (
    Earlier,
    Family,
    FamilyToken,
    Presentation,
    TokenId,
    Use,
)

_USES = {Outcome.HANDED_OUT, Outcome.WITHHELD, Outcome.GIVEN_BACK}


def family_of(
    pairs: Iterable[tuple[int, GrantEvent | AccessRecorded]],
    earlier: Earlier | None = None,
) -> Family | None:
    """Return the tokens of a grant, None without events.

    Args:
        pairs: (leaf index, event), complete and in log order; of journal events, the
            grant's entries alone.
        earlier: what they follow on, None where they are the whole history.
    """
    fold = _Fold()
    if earlier is not None:
        fold.begin(earlier)
    for leaf, event in pairs:
        if isinstance(event, AccessRecorded):
            for number, entry in enumerate(event.entries):
                fold.entry(leaf, number, entry)
        else:
            fold.event(leaf, event)
    if fold.state is None:
        return None
    last = None if earlier is None else earlier.leaf_index
    return Family(fold.state, fold.tokens, fold.reuse, last)


class _Fold:
    """What has to be remembered from event to event."""

    def __init__(self) -> None:
        self.state: GrantState | None = None
        self.tokens: dict[TokenId, FamilyToken] = {}
        self.reuse: list[tuple[int, datetime]] = []
        self._by_mark: dict[TokenFingerprint, FamilyToken] = {}
        self._by_version: dict[int, FamilyToken] = {}
        self._by_jti: dict[str, FamilyToken] = {}
        self._current: FamilyToken | None = None
        self._attempts: dict[UUID, tuple[FamilyToken | None, Presentation]] = {}
        self._exchanges: dict[str, str | None] = {}

    def begin(self, earlier: Earlier) -> None:
        """Know what the grant held, without what came before."""
        for leaf, event in earlier.events:
            self._note(leaf, event)
        for lost in earlier.state.lost:
            self._answered(lost.attempt_id, str(FailureClass.AMBIGUOUS))
        self.state = earlier.state

    # -- events of the grant

    def event(self, leaf: int, event: GrantEvent) -> None:
        self._note(leaf, event)
        before = self.state
        # Provisioned begins a state; every other event needs one.
        self.state = event.evolve(before)  # type: ignore[arg-type]  # see above
        self._follow(before, self.state, event)

    def _note(self, leaf: int, event: GrantEvent) -> None:
        match event:
            case Provisioned():
                self._consented(leaf, event)
            case RedemptionIntended():
                self._intended(leaf, event)
            case Rotated():
                self._rotated(leaf, event)
            case Exchanged():
                self._exchanged(leaf, event)
            case LateAnswerKept():
                self._late(leaf, event)
            case RedemptionFailed():
                self._answered(event.attempt_id, str(event.failure))
            case ReauthorizationRequired():
                if event.reason == "reuse_suspected":
                    self.reuse.append((leaf, event.timestamp))
            case _:
                pass

    def _consented(self, leaf: int, event: Provisioned) -> None:
        self._spend(self._current, event.timestamp)
        self._current = self._add(
            FamilyToken(
                id=TokenId(leaf, OF_EVENT, TokenKind.REFRESH),
                generation=event.generation,
                how="consent",
                version=event.originator_version,
                fingerprint=_known(event.fingerprint),
                obtained_at=event.timestamp,
                expires_at=event.refresh_expires_at,
                request_id=event.request_id,
                scopes=event.scopes,
                audience=event.audience,
                resource=event.resource,
            )
        )

    def _intended(self, leaf: int, event: RedemptionIntended) -> None:
        shown = Presentation(
            leaf_index=leaf,
            at=event.timestamp,
            attempt_id=event.attempt_id,
            node=event.node,
            actor=event.by,
            retry_of=event.retry_of,
        )
        token = self._by_mark.get(event.fingerprint, self._current)
        if token is not None:
            token.presented.append(shown)
        self._attempts[event.attempt_id] = (token, shown)

    def _rotated(self, leaf: int, event: Rotated) -> None:
        parent = self._presented(event.attempt_id)
        if event.parent_fingerprint is not None:
            parent = self._by_mark.get(event.parent_fingerprint, parent)
        self._answered(event.attempt_id, "rotated")
        self._spend(self._current, event.timestamp)
        known = self._by_mark.get(event.fingerprint)
        how = str(event.reason)
        self._current = self._add(
            FamilyToken(
                id=TokenId(leaf, OF_EVENT, TokenKind.REFRESH),
                generation=event.generation,
                how=how,
                version=event.originator_version,
                fingerprint=_known(event.fingerprint),
                obtained_at=event.timestamp,
                expires_at=event.expires_at,
                request_id=event.request_id,
                scopes=known.scopes if known else (),
                attempt_id=event.attempt_id,
                parent=parent.id if parent else None,
            )
        )

    def _exchanged(self, leaf: int, event: Exchanged) -> None:
        parent = self._presented(event.attempt_id)
        self._answered(event.attempt_id, "exchanged")
        self._add(
            FamilyToken(
                id=TokenId(leaf, OF_EVENT, TokenKind.ACCESS),
                generation=event.generation,
                how="consent" if event.attempt_id is None else "redeemed",
                version=event.originator_version,
                fingerprint=_known(event.fingerprint),
                obtained_at=event.obtained_at,
                expires_at=event.expires_at,
                request_id=event.request_id,
                jti=event.jti,
                scopes=event.scopes,
                audience=event.audience,
                resource=event.resource,
                attempt_id=event.attempt_id,
                parent=parent.id if parent else None,
            )
        )

    def _late(self, leaf: int, event: LateAnswerKept) -> None:
        parent = self._presented(event.attempt_id)
        self._answered(event.attempt_id, "late")
        for kind, mark, ends in (
            (TokenKind.REFRESH, event.fingerprint, event.refresh_expires_at),
            (TokenKind.ACCESS, event.access_fingerprint, event.access_expires_at),
        ):
            if mark is None:
                continue
            self._add(
                FamilyToken(
                    id=TokenId(leaf, OF_EVENT, kind),
                    generation=event.generation,
                    how="late",
                    version=event.originator_version,
                    fingerprint=_known(mark),
                    obtained_at=event.timestamp,
                    expires_at=ends,
                    request_id=event.request_id,
                    attempt_id=event.attempt_id,
                    parent=parent.id if parent else None,
                    revoked_at=event.timestamp if event.owed else None,
                )
            )

    # -- entries of the journal

    def entry(self, leaf: int, number: int, entry: AccessEntry) -> None:
        private = entry.private
        if entry.outcome is Outcome.EXCHANGE_INTENDED:
            self._exchanges[entry.request_id] = private.jti if private else None
        if entry.outcome not in _USES:
            return
        token: FamilyToken | None = None
        mark = private.fingerprint if private else None
        if entry.token_ref is not None:
            token = self._by_version.get(entry.token_ref)
        elif mark is not None:
            token = self._by_mark.get(mark)
        handed = entry.outcome is Outcome.HANDED_OUT
        if token is None and handed and entry.source is Source.EXCHANGED:
            token = self._session(leaf, number, entry)
        if token is None:
            return
        if entry.outcome is Outcome.GIVEN_BACK and entry.reason == "confirmed":
            token.confirmed_at = token.confirmed_at or entry.at
        token.uses.append(
            Use(
                leaf_index=leaf,
                entry=number,
                at=entry.at,
                outcome=entry.outcome,
                caller=entry.caller,
                request_id=entry.request_id,
                source=entry.source,
                audience=entry.audience,
                expires_at=entry.expires_at,
                actor=private.actor if private else None,
            )
        )

    def _session(self, leaf: int, number: int, entry: AccessEntry) -> FamilyToken:
        """Return a token of a session exchange, which this entry records."""
        jti = self._exchanges.pop(entry.request_id, None)
        parent = self._by_jti.get(jti) if jti else None
        private = entry.private
        return self._add(
            FamilyToken(
                id=TokenId(leaf, number, TokenKind.ACCESS),
                generation=entry.generation,
                how="exchanged",
                version=0,
                fingerprint=private.fingerprint if private else None,
                obtained_at=entry.at,
                expires_at=entry.expires_at,
                request_id=entry.request_id,
                jti=private.jti if private else None,
                scopes=entry.scopes,
                audience=entry.audience,
                parent=parent.id if parent else None,
                parent_jti=jti,
            )
        )

    # -- what several share

    def _add(self, token: FamilyToken) -> FamilyToken:
        self.tokens[token.id] = token
        if token.fingerprint is not None:
            self._by_mark[token.fingerprint] = token
        if token.version and token.id.kind is TokenKind.ACCESS:
            self._by_version[token.version] = token
        if token.jti is not None:
            self._by_jti[token.jti] = token
        return token

    def _presented(self, attempt_id: UUID | None) -> FamilyToken | None:
        found = self._attempts.get(attempt_id) if attempt_id else None
        return found[0] if found else None

    def _answered(self, attempt_id: UUID | None, came_to: str) -> None:
        found = self._attempts.get(attempt_id) if attempt_id else None
        if found is not None:
            found[1].came_to = came_to

    @staticmethod
    def _spend(token: FamilyToken | None, at: datetime) -> None:
        if token is not None and token.replaced_at is None:
            token.replaced_at = at

    def _follow(
        self, before: GrantState | None, after: GrantState, event: GrantEvent
    ) -> None:
        """Note what is owed to the server, and what it has confirmed."""
        if before is not None and before.obligations is not after.obligations:
            known = {o.id: o for o in before.obligations}
            for owed in after.obligations:
                token = self._by_mark.get(owed.fingerprint)
                old = known.get(owed.id)
                if token is None or (
                    old is not None and old.confirmed is owed.confirmed
                ):
                    continue
                token.revoked_at = token.revoked_at or owed.opened_at
                if owed.confirmed:
                    token.confirmed_at = token.confirmed_at or event.timestamp
        if isinstance(event, Revoked):
            self._current = None


def _known(mark: TokenFingerprint) -> TokenFingerprint | None:
    """Return a fingerprint, None for the stand-in of one that was erased."""
    return None if mark == ERASED_TEXT else mark
