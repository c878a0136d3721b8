"""A row of the audit trail as JSON: what `grantledger audit --json` and HTTP answer.

Times are RFC 3339 in UTC. A name that is not known has the value null. Everything but
ASCII is escaped, so that no text steers a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from grantledger.domain.audit import OF_EVENT, AuditMark, AuditRow, Fact
from grantledger.domain.values import Actor


def row_data(row: AuditRow) -> dict[str, object]:
    """Return a row by names, ready for JSON."""
    return {
        "leaf_index": row.at.leaf_index,
        "entry": entry_of(row),
        "event_id": str(row.event_id),
        "event": row.event,
        "outcome": str(row.outcome),
        "occurred_at": time_text(row.occurred_at),
        "recorded_at": time_text(row.recorded_at),
        "stream": str(row.stream),
        "stream_seq": row.stream_seq,
        "request_id": row.request_id,
        "node": row.node,
        "build": row.build,
        "policy": row.policy,
        "grant_id": None if row.grant_id is None else str(row.grant_id),
        "provider": row.provider,
        "subject": row.subject,
        "label": row.label,
        "client_id": row.client_id,
        "caller": row.caller,
        "actor": None if row.actor is None else _actor(row.actor),
        "actor_kind": None if row.actor_kind is None else str(row.actor_kind),
        "generation": row.generation,
        "token": _mark(row.mark),
        "parent": _mark(row.parent),
        "jti": row.jti,
        "scopes": list(row.scopes),
        "audience": row.audience,
        "expires_at": None if row.expires_at is None else time_text(row.expires_at),
        "reason": row.reason,
        "detail": row.detail,
        "what": row.what,
        "facts": facts_data(row.facts),
    }


def row_line(row: AuditRow) -> bytes:
    """Return a row as a line of NDJSON, with its end."""
    return json_line(row_data(row))


def json_line(data: object) -> bytes:
    """Return one line of JSON, with its end."""
    return json.dumps(data, separators=(",", ":")).encode("ascii") + b"\n"


def entry_of(row: AuditRow) -> int | None:
    """Return the number of a journal entry in its leaf, None for an event."""
    return None if row.at.entry == OF_EVENT else row.at.entry


def time_text(at: datetime) -> str:
    """Return a time as RFC 3339 in UTC, to the microsecond where it has any."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def facts_data(facts: Mapping[str, Fact]) -> dict[str, object]:
    """Return what else a record says, ready for JSON."""
    return {name: fact_data(value) for name, value in facts.items()}


def fact_data(value: Fact) -> object:
    """Return one such value; texts of an enumeration become plain ones."""
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Sequence):
        return [str(one) for one in value]
    return value


def _mark(mark: AuditMark | None) -> dict[str, str] | None:
    if mark is None:
        return None
    return {"kind": str(mark.kind), "fingerprint": mark.fingerprint}


def _actor(actor: Actor) -> dict[str, object]:
    return {
        "id": actor.id,
        "kind": str(actor.kind),
        "act_chain": list(actor.act_chain),
        "auth_method": actor.auth_method,
        "peer_ip": actor.peer_ip,
        "forwarded_for": actor.forwarded_for,
        "user_agent": actor.user_agent,
        "correlation_id": actor.correlation_id,
        "traceparent": actor.traceparent,
    }
