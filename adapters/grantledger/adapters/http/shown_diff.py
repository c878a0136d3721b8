"""What programs are told of changes between two points of the log, without tokens.

The command line and the service show the same.
"""

from __future__ import annotations

from grantledger.domain.fleet import AsOf
from grantledger.projections.differences import Change


def change_data(change: Change) -> dict[str, object]:
    """Return what changed of one grant, for programs."""
    before, after = change.before, change.after
    return {
        "grant_id": change.grant_id,
        "provider": after.state.provider,
        "subject": after.state.subject or None,
        "label": after.state.label,
        "before": None if before is None else _place(before),
        "after": _place(after),
        "differences": [
            {"field": one.field, "before": one.before, "after": one.after}
            for one in change.differences
        ],
    }


def _place(then: AsOf) -> dict[str, object]:
    return {"leaf": then.leaf_index, "version": then.grant.version}
