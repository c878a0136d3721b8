"""Legal holds over HTTP: set, listed and released by who may."""

from __future__ import annotations

from uuid import uuid4

import pytest

from grantledger.adapters.http import problems
from grantledger.domain.errors import LegalHoldInForce
from grantledger.domain.policy import Role
from grantledger.domain.values import ErasureReason
from tests.broker.scene import CALLER
from tests.http.scene import Service
from tests.http.test_management import allow, denied, get, post

HOLDS = "/v1/holds"
ALICE = {"provider": "cloud", "subject": "alice"}


async def test_a_hold_is_set_listed_and_released(here: Service) -> None:
    allow(here, Role.OPERATOR)
    grant = await here.life.grant()
    body = {**ALICE, "reason": "matter 7", "ticket": "T-7"}
    said = await post(here, HOLDS, json=body)
    assert said.status_code == 201, said.text
    hold = said.json()
    assert (hold["scope"], hold["grants"]) == ("subject", [str(grant.id)])
    assert (await get(here, HOLDS)).json() == {"holds": [hold]}
    key = here.life.scene.key
    with pytest.raises(LegalHoldInForce) as refused:
        await here.life.broker.erase(CALLER, key, reason=ErasureReason.OPERATOR)
    answer = problems.of_error(refused.value)
    assert (answer.status_code, refused.value.code) == (409, "legal_hold")
    path = f"{HOLDS}/{hold['hold_id']}/release"
    said = await post(here, path, json={"reason": "over"})
    assert said.status_code == 200, said.text
    assert (await get(here, HOLDS)).json() == {"holds": []}
    assert (await post(here, path, json={"reason": "over"})).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"reason": "why"}, 400),
        ({**ALICE, "everything": True, "reason": "why"}, 400),
        ({"provider": "cloud", "reason": "why"}, 400),
        ({**ALICE}, 400),
        ({**ALICE, "reason": "x" * 501}, 400),
        ({"grant_id": str(uuid4()), "reason": "why"}, 404),
    ],
)
async def test_what_names_no_one_thing_to_hold_is_refused(
    here: Service, body: dict[str, object], status: int
) -> None:
    allow(here, Role.OPERATOR)
    assert (await post(here, HOLDS, json=body)).status_code == status
    assert not (await here.life.broker.holding.in_force())


async def test_who_may_do_it_for_one_user_does_it_for_nobody_else(
    here: Service,
) -> None:
    """Nor sees, or ends, the holds of others."""
    held = await here.life.broker.holding.hold(CALLER, everything=True, reason="all")
    allow(here, Role.OPERATOR, subjects=frozenset({"bob"}))
    release = f"{HOLDS}/{held.id}/release"
    for path, body in (
        (HOLDS, {"everything": True, "reason": "why"}),
        (HOLDS, {**ALICE, "reason": "why"}),
        (release, {"reason": "why"}),
    ):
        assert (await post(here, path, json=body)).status_code == 403
    assert denied(here) == ["may_not_hold"] * 3
    assert (await get(here, HOLDS)).json() == {"holds": []}
    assert await here.life.broker.holding.in_force() == (held,)
