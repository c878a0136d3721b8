"""What there is of each grant after the recovery, in the ledger and at the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.devserver.records import Family, Redemption
from grantledger.adapters.devserver.tokens import sha256
from grantledger.domain.grant_events import Provisioned, Rotated
from grantledger.domain.grant_state import GrantState
from grantledger.domain.journal import AccessEntry, AccessRecorded
from grantledger.domain.values import GrantKey, TokenFingerprint, TokenKind
from tests.crash.ground import Ground
from tests.crash.recovering import Answered
from tests.crash.rounds import Death


@dataclass
class Left:
    """What there is of one grant after the recovery.

    Attributes:
        printed: (fingerprint, SHA-256) of every token that left the dead process.
        events: of its stream, each with its leaf index and version.
        entries: of its journal, each with its leaf index and the node.
        families: at the server, by id.
        redemptions: presentations of its refresh tokens at the server, oldest first.
        children: tokens that the server has exchanged for its user.
        live: SHA-256 of the access tokens that the server accepts.
        tokens: SHA-256 of every refresh token that the ledger has held, by fingerprint.
    """

    death: Death
    answered: Answered
    printed: dict[TokenFingerprint, str]
    state: GrantState | None
    events: list[tuple[int, Any]]
    entries: list[tuple[int, str, AccessEntry]]
    families: dict[str, Family]
    redemptions: list[Redemption]
    children: int
    live: set[str]
    tokens: dict[TokenFingerprint, str]

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the events of a kind, oldest first."""
        return [event for _, event in self.events if isinstance(event, kind)]

    def by(self, number: int) -> list[Any]:
        """Return what the operation of that process has appended."""
        death = self.death
        since = death.traces[number].version
        node = f"-{death.ended[number].pid}"
        return [
            event
            for _, event in self.events
            if since is not None
            and event.originator_version > since
            and event.node.endswith(node)
        ]

    def recorded_by(self, number: int) -> list[AccessEntry]:
        """Return what the operation of that process has recorded."""
        death = self.death
        node = f"-{death.ended[number].pid}"
        mine = [entry for _, by, entry in self.entries if by.endswith(node)]
        return mine[death.traces[number].printed :]


async def left(
    ground: Ground, opened: OpenBroker, death: Death, answered: Answered
) -> Left:
    """Collect what there is of the grant."""
    job = death.job
    marks = opened.broker.env.fingerprints
    grant = await opened.ledger.find(GrantKey(job.provider, job.subject))
    history = await opened.ledger.history(grant.id) if grant else []
    events = [(n, e) for n, e in history if not isinstance(e, AccessRecorded)]
    state = ground.sites[job.provider].server.state
    tokens = {
        e.fingerprint: sha256(e.refresh_token.reveal())
        for _, e in events
        if isinstance(e, Provisioned | Rotated)
    }
    known = {*tokens.values(), sha256(job.token)}
    with state.lock:
        families = {k: f for k, f in state.families.items() if f.user == job.subject}
        redemptions = [
            r for r in state.redemptions if r.sha256 in known or r.family_id in families
        ]
        children = sum(
            a.parent_sha256 is not None and a.user == job.subject
            for a in state.access_tokens.values()
        )
        live = {a.sha256 for a in state.live_access_tokens if a.user == job.subject}
    return Left(
        death=death,
        answered=answered,
        printed={
            marks.fingerprint(TokenKind.ACCESS, token): sha256(token)
            for token in death.told
        },
        state=grant.state if grant else None,
        events=events,
        entries=[
            (n, e.node, entry)
            for n, e in history
            if isinstance(e, AccessRecorded)
            for entry in e.entries
        ],
        families=families,
        redemptions=redemptions,
        children=children,
        live=live,
        tokens=tokens,
    )
