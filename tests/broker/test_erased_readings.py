"""Readings of the audit about a user who is erased later name nobody afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from grantledger.adapters.bootstrap.audit_reading import admitted
from grantledger.adapters.bootstrap.inquiring import answered
from grantledger.domain.audit import AuditFilter
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.values import ErasureReason, TokenFingerprint
from grantledger.projections.inquiry import Asked
from grantledger.projections.questions import question_named
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, Life
from tests.broker.stores import both_stores

READINGS = AuditFilter(event="AuditAccessed")


async def looked_up(life: Life) -> None:
    """Read the trail about the scene's user, by everything that names one."""
    key = life.scene.key
    whose = AuditFilter(provider=key.provider, subject=key.subject)
    filters = [
        whose,
        replace(whose, label=key.label),
        replace(whose, actor=key.subject, address=f"{key.subject}.example"),
        AuditFilter(fingerprint=TokenFingerprint(f"hmac-sha256:k:{key.subject}")),
    ]
    for use in (AuditUse.READ, AuditUse.EXPORT, AuditUse.FOLLOW):
        for wanted in filters:
            await admitted(life.broker, CALLER, use, wanted, "shown")
    asked = Asked(address=f"{key.subject}.example")
    await answered(life.opened, CALLER, question_named("refusals"), asked)


async def plaintexts(life: Life) -> list[bytes]:
    """Open every sealed part of the ledger that opens."""
    ledger = life.opened.ledger
    size = (await ledger.log()).tree.size
    found = await ledger.disclosing.leaves(range(size), None)
    return [one.plain for leaf in found for one in leaf.opened]


@both_stores
async def test_nothing_of_an_erased_user_opens_where_the_audit_was_read(
    start: Start,
) -> None:
    scene = start("B")
    async with scene.open(provision=False) as life:
        await looked_up(life)
        await life.provision()
        await looked_up(life)
        await life.broker.erase(CALLER, scene.key, reason=ErasureReason.USER_REQUEST)
        opened = await plaintexts(life)
        assert len(opened) > 15
        assert [one for one in opened if scene.key.subject.encode() in one] == []


@both_stores
async def test_who_looked_a_user_up_is_found_by_the_users_grants(start: Start) -> None:
    scene = start("B")
    async with scene.open() as life:
        grant = await life.grant()
        key = scene.key
        wanted = AuditFilter(provider=key.provider, subject=key.subject)
        await admitted(life.broker, CALLER, AuditUse.READ, wanted, "shown")
        (row,) = (await life.opened.ledger.audit(READINGS)).rows
        assert (row.grant_id, row.subject) == (grant.id, key.subject)
        assert row.detail == "shown: provider=cloud, subject (not kept)"
        assert row.recorded_at - row.occurred_at < timedelta(minutes=1)
