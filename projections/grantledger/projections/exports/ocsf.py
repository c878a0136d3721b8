"""The audit trail as OCSF 1.8.0 events.

A keyed fingerprint stands in two places: in the data of a rotated grant, old and new,
and in the evidence of a token's reuse. Everywhere else there is none. What has no home
in OCSF is `unmapped`, the caller's own words in `unmapped.untrusted`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from grantledger.domain.audit import OF_EVENT, AuditOutcome, AuditRow
from grantledger.domain.values import ActorKind, ReauthorizationReason
from grantledger.projections.exports.ocsf_classes import (
    CATEGORIES,
    ENTITY,
    FINDING,
    KINDS,
    OTHER,
    REUSE,
    VERSION,
    Kind,
    Severity,
)
from grantledger.projections.exports.rows import facts_data, time_text

STATUS: Mapping[AuditOutcome, tuple[int, str]] = {
    AuditOutcome.SUCCESS: (1, "Success"),
    AuditOutcome.DENIED: (2, "Failure"),
    AuditOutcome.FAILED: (2, "Failure"),
    AuditOutcome.UNKNOWN: (0, "Unknown"),
}
USER_TYPES: Mapping[ActorKind, int] = {
    ActorKind.USER: 1,
    ActorKind.ADMIN: 2,
    ActorKind.SYSTEM: 3,
    ActorKind.SERVICE: 4,
    ActorKind.AGENT: 99,
}
DENIED_ACTION, BLOCKED = 2, 2
NEW_FINDING = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FINGERPRINT = "hmac-sha256:"


def ocsf_event(row: AuditRow) -> dict[str, object]:
    """Return a row as an OCSF event, ready for JSON."""
    kind = kind_of(row)
    said: dict[str, object] = {
        "class_uid": kind.class_uid,
        "category_uid": CATEGORIES[kind.class_uid],
        "activity_id": int(kind.activity),
        "type_uid": kind.type_uid,
        "severity_id": int(_severity(row, kind)),
        "time": _ms(row.occurred_at),
        "message": row.what,
        "metadata": _metadata(row),
        "unmapped": _unmapped(row),
    }
    if kind.class_uid == FINDING:
        return said | _finding(row)
    number, word = STATUS[row.outcome]
    said |= {"status_id": number, "status": word, "actor": _actor(row)}
    if number != 1:
        if row.reason is not None:
            said["status_code"] = row.reason
        if row.detail is not None:
            said["status_detail"] = row.detail
    if row.outcome is AuditOutcome.DENIED:
        said |= {"action_id": DENIED_ACTION, "disposition_id": BLOCKED}
    if row.actor is not None and row.actor.user_agent is not None:
        said["http_request"] = {"user_agent": row.actor.user_agent}
    if kind.class_uid == ENTITY:
        return said | _of_entity(row, kind)
    return said | _of_api(row, kind)


def kind_of(row: AuditRow) -> Kind:
    """Return which class and activity a row is."""
    if row.reason == ReauthorizationReason.REUSE_SUSPECTED and row.grant_id:
        return REUSE
    return KINDS.get(row.event, OTHER)


def _severity(row: AuditRow, kind: Kind) -> Severity:
    if kind is REUSE:
        return Severity.HIGH
    if row.event == "ReauthorizationRequired":
        return Severity.MEDIUM
    if row.outcome is AuditOutcome.SUCCESS:
        return Severity.INFORMATIONAL
    return Severity.LOW if row.outcome is AuditOutcome.DENIED else Severity.MEDIUM


def _metadata(row: AuditRow) -> dict[str, object]:
    product: dict[str, object] = {"name": "grantledger", "vendor_name": "grantledger"}
    if row.build is not None:
        product["version"] = row.build
    # Several entries are of one event: its id and the entry's number name one.
    number = "" if row.at.entry == OF_EVENT else f":{row.at.entry}"
    said: dict[str, object] = {
        "version": VERSION,
        "product": product,
        "uid": f"{row.event_id}{number}",
        "sequence": row.at.leaf_index,
        "event_code": row.event,
        "logged_time": _ms(row.recorded_at),
    }
    if row.request_id:
        said["correlation_uid"] = row.request_id
    if row.provider:
        said["tenant_uid"] = row.provider
    if row.outcome is AuditOutcome.DENIED:
        said["profiles"] = ["security_control"]
    return said


def _actor(row: AuditRow) -> dict[str, object]:
    said: dict[str, object] = {}
    if row.actor is not None:
        kind = row.actor_kind or row.actor.kind
        said["user"] = {"uid": row.actor.id, "type_id": USER_TYPES[kind]}
        if row.actor.act_chain:
            said["invoked_by"] = " < ".join(row.actor.act_chain)
    said["app_uid"] = row.caller or "grantledger"
    if row.policy:
        decision = "deny" if row.outcome is AuditOutcome.DENIED else "allow"
        policy = {"uid": row.policy}
        said["authorizations"] = [{"decision": decision, "policy": policy}]
    return said


def _endpoint(row: AuditRow) -> dict[str, object]:
    """Return where it came from: an address, or the name of who asked."""
    address = row.actor.peer_ip if row.actor else None
    try:
        return {"ip": str(ip_address(address or ""))}
    except ValueError:
        return {"svc_name": row.caller or row.node or "grantledger"}


def _of_entity(row: AuditRow, kind: Kind) -> dict[str, object]:
    data: dict[str, object] = {"generation": row.generation}
    if row.event == "Rotated":
        data["new_fingerprint"] = row.mark.fingerprint if row.mark else None
        data["old_fingerprint"] = row.parent.fingerprint if row.parent else None
    said: dict[str, object] = {
        "entity": {
            "type_id": 99,
            "type": "OAuth Grant",
            "uid": str(row.grant_id or row.stream),
            "data": data,
        },
        "src_endpoint": _endpoint(row),
    }
    if kind is KINDS["Revoked"] or row.event == "Revoked":
        said["comment"] = " ".join(t for t in (row.reason, row.detail) if t) or "none"
    return said


def _of_api(row: AuditRow, kind: Kind) -> dict[str, object]:
    api: dict[str, object] = {"operation": kind.operation or row.event}
    if row.provider:
        api["service"] = {"name": row.provider}
    if row.request_id:
        api["request"] = {"uid": row.request_id}
    if row.outcome is not AuditOutcome.SUCCESS and row.reason is not None:
        api["response"] = {"error": row.reason}
    said: dict[str, object] = {"api": api, "src_endpoint": _endpoint(row)}
    if row.audience is not None:
        said["resources"] = [{"name": row.audience, "type": "audience"}]
    if row.event == "DenialsSuppressed" and isinstance(row.facts.get("count"), int):
        said["count"] = row.facts["count"]
    return said


def _finding(row: AuditRow) -> dict[str, object]:
    evidence: dict[str, object] = {
        "actor": _actor(row),
        "data": {
            "grant_id": str(row.grant_id),
            "generation": row.generation,
            "token_fingerprint": row.mark.fingerprint if row.mark else None,
            "evidence": row.detail,
        },
    }
    return {
        "status_id": NEW_FINDING,
        "status": "New",
        "finding_info": {
            "uid": str(row.event_id),
            "title": "A refresh token was used again",
            "desc": row.what,
            "created_time": _ms(row.recorded_at),
        },
        "evidences": [evidence],
    }


def _unmapped(row: AuditRow) -> dict[str, object]:
    by = row.actor
    untrusted = {
        "forwarded_for": by.forwarded_for if by else None,
        "correlation_id": by.correlation_id if by else None,
        "traceparent": by.traceparent if by else None,
    }
    said: dict[str, object] = {
        "outcome": str(row.outcome),
        "entry": None if row.at.entry == OF_EVENT else row.at.entry,
        "stream": str(row.stream),
        "stream_seq": row.stream_seq,
        "node": row.node,
        "grant_id": None if row.grant_id is None else str(row.grant_id),
        "subject": row.subject,
        "label": row.label,
        "client_id": row.client_id,
        "auth_method": by.auth_method if by else None,
        "generation": row.generation,
        "token_kind": str(row.mark.kind) if row.mark else None,
        "scopes": list(row.scopes) or None,
        "expires_at": None if row.expires_at is None else time_text(row.expires_at),
        "reason": row.reason,
        "facts": _without_fingerprints(facts_data(row.facts)) or None,
        "untrusted": {n: v for n, v in untrusted.items() if v is not None} or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _without_fingerprints(facts: Mapping[str, object]) -> dict[str, object]:
    """Return the facts that name no token."""
    return {
        name: value
        for name, value in facts.items()
        if value is not None and _FINGERPRINT not in str(value)
    }


def _ms(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)
