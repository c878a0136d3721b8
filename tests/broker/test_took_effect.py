"""Whether a revocation took effect, asked of a real ledger."""

from __future__ import annotations

from grantledger.adapters.bootstrap.inquiring import answered
from grantledger.domain.audit import AuditFilter
from grantledger.projections.inquiry import Asked
from grantledger.projections.questions import question_named
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, Life
from tests.broker.stores import both_stores

CONFIRMED = AuditFilter(event="UpstreamRevocationConfirmed")


async def told(life: Life, asked: Asked) -> tuple[object, ...]:
    """Return how many tokens the one revocation owed, how many are confirmed, words."""
    found = await answered(life.opened, CALLER, question_named("took-effect"), asked)
    (line,) = found.answer.lines
    return tuple(line[8:])


@both_stores
async def test_a_revocation_took_effect_when_the_server_confirmed_each_token(
    start: Start,
) -> None:
    """Between its two confirmations it had not."""
    scene = start(preset="generic")
    async with scene.open() as life:
        await life.token(("files.read",))
        await life.broker.revoke(CALLER, scene.key)
        rows = (await life.opened.ledger.audit(CONFIRMED)).rows
        assert len(rows) == 2
        between = await told(life, Asked(until=rows[1].recorded_at))
        assert between == (2, 1, "not confirmed: 1 token, not asked yet")
        last = f"{rows[1].occurred_at:%Y-%m-%d %H:%M:%S}"
        assert await told(life, Asked()) == (2, 2, f"confirmed {last} UTC")
