"""Rows of the audit trail of any content."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from grantledger.domain import grant_events, ledger_events
from grantledger.domain.audit import (
    AuditMark,
    AuditOutcome,
    AuditPosition,
    AuditRow,
)
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.ledger_events import LedgerEvent
from grantledger.domain.values import Actor, ActorKind, TokenFingerprint, TokenKind
from grantledger.projections.audit_trail import JOURNAL_EVENTS

EVENTS = sorted(
    {*JOURNAL_EVENTS.values()}
    | {
        name
        for module, base in ((grant_events, GrantEvent), (ledger_events, LedgerEvent))
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, base) and kind is not base
    }
)
"""The name of every event that a ledger may hold."""

NEW = TokenFingerprint(f"hmac-sha256:k1:{'ab' * 32}")
OLD = TokenFingerprint(f"hmac-sha256:k1:{'cd' * 32}")
BY = Actor(
    id="idp:job",
    kind=ActorKind.AGENT,
    act_chain=("idp:chat",),
    peer_ip="2001:db8::7",
    user_agent="probe/1",
    correlation_id="c-1",
    forwarded_for="198.51.100.7",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    auth_method="jwt",
)


def row(event: str = "HandedOut", **said: Any) -> AuditRow:  # noqa: ANN401 - of its field
    """Return a row with something in every field."""
    usual: dict[str, Any] = {
        "at": AuditPosition(7, 0),
        "event_id": UUID(int=7),
        "outcome": AuditOutcome.SUCCESS,
        "occurred_at": datetime(2026, 3, 1, 14, 2, 0, 123_456, UTC),
        "recorded_at": datetime(2026, 3, 1, 14, 2, 1, tzinfo=UTC),
        "stream": UUID(int=8),
        "stream_seq": 3,
        "request_id": "r-1",
        "node": "replica-1",
        "policy": "p-1",
        "build": "0.1.0",
        "grant_id": UUID(int=9),
        "provider": "cloud",
        "subject": "alice",
        "label": "default",
        "client_id": "client-1",
        "caller": "idp:job",
        "actor": BY,
        "actor_kind": ActorKind.AGENT,
        "generation": 2,
        "mark": AuditMark(TokenKind.ACCESS, NEW),
        "parent": AuditMark(TokenKind.REFRESH, OLD),
        "jti": "j-1",
        "scopes": ("openid", "profile"),
        "audience": "https://notes.example",
        "expires_at": datetime(2026, 3, 1, 15, tzinfo=UTC),
        "reason": "no_rule",
        "detail": "because",
        "what": "From the cache.",
        "facts": {
            "count": 3,
            "since": datetime(2026, 3, 1, tzinfo=UTC),
            "parent_fingerprint": OLD,
            "attempts": ["a", "b"],
            "sent": True,
            "wait": 1.5,
            "nothing": None,
        },
    }
    return AuditRow(event=event, **usual | said)


def bare(event: str = "Moved", **said: Any) -> AuditRow:  # noqa: ANN401 - of its field
    """Return a row with nothing but what every row has."""
    return AuditRow(
        at=AuditPosition(0, -1),
        event_id=UUID(int=1),
        event=event,
        outcome=said.pop("outcome", AuditOutcome.SUCCESS),
        occurred_at=datetime(2026, 3, 1, tzinfo=UTC),
        recorded_at=datetime(2026, 3, 1, tzinfo=UTC),
        stream=UUID(int=2),
        stream_seq=1,
        request_id="",
        node="",
        **said,
    )


_texts = st.text(max_size=12) | st.sampled_from(
    [
        "=1+1",
        "+1",
        "-2",
        "@x",
        "\t=1",
        "\r\n",
        "'=1",
        "\uff1d1",
        'a"b',
        "a,b;c",
        "\x1b[31m",
    ]
)
_maybe = st.none() | _texts
_times = st.integers(0, 7_000_000_000_000_000).map(
    lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)
actors = st.builds(
    Actor,
    id=_texts,
    kind=st.sampled_from(ActorKind),
    act_chain=st.lists(_texts, max_size=2).map(tuple),
    peer_ip=_maybe | st.ip_addresses().map(str),
    user_agent=_maybe,
    correlation_id=_maybe,
    forwarded_for=_maybe,
    traceparent=_maybe | st.just(BY.traceparent),
    auth_method=_maybe,
)
rows = st.builds(
    row,
    event=st.sampled_from(EVENTS),
    at=st.builds(AuditPosition, st.integers(0, 2**40), st.integers(-1, 1000)),
    outcome=st.sampled_from(AuditOutcome),
    occurred_at=_times,
    recorded_at=_times,
    node=_texts,
    build=_maybe,
    policy=_texts,
    request_id=_texts,
    grant_id=st.none() | st.uuids(),
    provider=_texts,
    subject=_maybe,
    label=_maybe,
    client_id=_maybe,
    caller=_maybe,
    actor=st.none() | actors,
    jti=_maybe,
    scopes=st.lists(_texts, max_size=3).map(tuple),
    audience=_maybe,
    reason=_maybe | st.just("reuse_suspected"),
    detail=_maybe,
    what=_texts,
)
