"""A grant's row says what the grant says."""

from __future__ import annotations

from datetime import timedelta

from grantledger.domain.values import GrantStatus
from grantledger.projections.current_grants import row_of
from tests.ledger.scene import NOW, intended, new_grant, revoked


def test_a_row_is_the_grant_as_it_stands_pending_events_included() -> None:
    grant = new_grant()
    row = row_of(grant)
    assert (row.grant_id, row.version, row.provider) == (grant.id, 1, "cloud")
    assert (row.status, row.generation) == (GrantStatus.ACTIVE, 1)
    assert (row.due_at, row.modified_at) == (None, NOW)


def test_an_intent_is_due_when_its_lease_is_over() -> None:
    draft, intent = intended(new_grant())
    row = row_of(draft)
    assert row.version == 2
    assert row.status is GrantStatus.REFRESHING
    assert row.due_at == intent.lease_expires_at
    assert intent.lease_expires_at > NOW + timedelta(seconds=1)


def test_what_is_owed_is_due_at_its_next_try() -> None:
    draft = revoked(new_grant())
    row = row_of(draft)
    assert row.status is GrantStatus.REVOKED
    assert row.due_at == draft.state.obligations[0].next_try_at
