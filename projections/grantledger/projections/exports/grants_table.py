"""Grants as CSV: what stands of each now, no token and no fingerprint of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from grantledger.domain.user_grant import UserGrant
from grantledger.projections.exports.columns import Cell
from grantledger.projections.exports.csv_table import table

_COLUMNS: Mapping[str, Callable[[UserGrant], Cell]] = {
    "grant_id": lambda one: str(one.id),
    "provider": lambda one: one.state.provider,
    "subject": lambda one: one.state.subject,
    "label": lambda one: one.state.label,
    "status": lambda one: str(one.state.status),
    "reauthorization": lambda one: (
        str(one.state.reauthorization) if one.state.reauthorization else None
    ),
    "generation": lambda one: one.state.generation,
    "version": lambda one: one.version,
    "client_id": lambda one: one.state.provisioning.client_id,
    "scopes": lambda one: list(one.state.provisioning.scopes),
    "audience": lambda one: one.state.provisioning.audience,
    "resource": lambda one: one.state.provisioning.resource,
    "provisioned_at": lambda one: one.state.provisioning.provisioned_at,
    "rotated_at": lambda one: one.state.rotated_at,
    "revoked_at": lambda one: one.state.revoked_at,
    "modified_at": lambda one: one.modified_on,
}


def grants_header() -> bytes:
    """Return the first line."""
    return table([list(_COLUMNS)])


def grants_rows(grants: Iterable[UserGrant]) -> bytes:
    """Return lines, one a grant; cells are written as those of `csv_table` are."""
    return table([of(one) for of in _COLUMNS.values()] for one in grants)
