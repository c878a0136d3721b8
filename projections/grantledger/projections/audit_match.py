"""Whether a row of the audit trail is what a filter asks for."""

from __future__ import annotations

from grantledger.domain.audit import AuditFilter, AuditRow
from grantledger.domain.fleet import within


def matches(row: AuditRow, wanted: AuditFilter) -> bool:
    """Tell whether everything that the filter says holds of the row."""
    exact = (
        (wanted.grant_id, row.grant_id),
        (wanted.provider, row.provider),
        (wanted.subject, row.subject),
        (wanted.label, row.label),
        (wanted.caller, row.caller),
        (wanted.event, row.event),
        (wanted.outcome, row.outcome),
        (wanted.request_id, row.request_id),
    )
    actor = row.actor
    names = {row.caller, *((actor.id, *actor.act_chain) if actor else ())}
    marks = {mark.fingerprint for mark in (row.mark, row.parent) if mark}
    return (
        all(asked is None or asked == said for asked, said in exact)
        and within(row.recorded_at, wanted.recorded_from, wanted.recorded_until)
        and (wanted.below is None or row.at.leaf_index < wanted.below)
        and (wanted.actor is None or wanted.actor in names)
        and (wanted.fingerprint is None or wanted.fingerprint in marks)
        and (wanted.scope is None or wanted.scope in row.scopes)
        and (
            wanted.address is None
            or (actor is not None and actor.peer_ip == wanted.address)
        )
    )
