"""`POST /events/{transmitter}`: what another says of a user ends the grants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grantledger.adapters.http.events import SECEVENT
from grantledger.adapters.upstream.security_events import (
    CREDENTIAL_COMPROMISE,
    SESSION_REVOKED,
    VERIFICATION,
)
from grantledger.domain.values import (
    GrantStatus,
    ReauthorizationReason,
    RevocationReason,
)
from tests.broker.between import LedgerBetween
from tests.http.scene import SECRET
from tests.http.transmitting import Receiving, receiving
from tests.upstream.signing import JWKS
from tests.upstream.support import reply

REVOKED, ACTIVE = GrantStatus.REVOKED, GrantStatus.ACTIVE
QUARANTINED = GrantStatus.REAUTHORIZATION_REQUIRED


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Receiving]:
    async with receiving(tmp_path) as made:
        yield made


async def test_a_compromised_credential_revokes_every_label_of_the_user(
    there: Receiving,
) -> None:
    await there.provision("phone")
    await there.provision("default", "bob")
    said = await there.push(there.token(CREDENTIAL_COMPROMISE, jti="event-1"))
    assert (said.status_code, said.content) == (202, b"")
    for label in ("default", "phone"):
        assert (await there.state(label)).status is REVOKED
    assert (await there.state(subject="bob")).status is ACTIVE
    events = await there.service.life.events()
    (event,) = [e for e in events if type(e).__name__ == "Revoked"]
    assert event.reason is RevocationReason.SECURITY_EVENT
    assert (event.by.id, event.by.correlation_id) == ("set:idp", "event-1")


async def test_a_revoked_session_asks_for_consent_again(there: Receiving) -> None:
    await there.provision("phone")
    assert (await there.push(there.token(SESSION_REVOKED))).status_code == 202
    for label in ("default", "phone"):
        state = await there.state(label)
        assert state.status is QUARANTINED
        assert state.reauthorization is ReauthorizationReason.SECURITY_EVENT


async def test_the_settings_say_what_follows(tmp_path: Path) -> None:
    more = 'on_session_revoked = "revoke"\non_credential_compromise = "quarantine"'
    async with receiving(tmp_path, more) as there:
        await there.push(there.token(CREDENTIAL_COMPROMISE))
        assert (await there.state()).status is QUARANTINED
        await there.push(there.token(SESSION_REVOKED))
        assert (await there.state()).status is REVOKED, "what asks for consent, too"


async def test_of_two_events_in_one_the_final_one_counts(there: Receiving) -> None:
    both: dict[str, object] = {SESSION_REVOKED: {}, CREDENTIAL_COMPROMISE: {}}
    await there.push(there.token(both))
    assert (await there.state()).status is REVOKED


async def test_each_form_of_a_subject_is_read(there: Receiving) -> None:
    forms: list[dict[str, object]] = [
        there.subject(),
        {"format": "opaque", "id": "alice"},
        {"format": "complex", "user": there.subject(), "session": {"format": "opaque"}},
    ]
    for form in forms:
        await there.push(there.token(CREDENTIAL_COMPROMISE, sub_id=form))
        assert (await there.state()).status is REVOKED
        await there.provision("default")
        assert (await there.state()).status is ACTIVE


@pytest.mark.parametrize("replica", [0, 1])
async def test_an_event_that_came_before_is_acknowledged_and_does_nothing(
    there: Receiving, replica: int
) -> None:
    token = there.token(CREDENTIAL_COMPROMISE)
    await there.push(token)
    await there.provision("default")
    assert (await there.push(token, replica=replica)).status_code == 202
    assert (await there.state()).status is ACTIVE


async def test_an_event_cut_short_is_not_acknowledged_and_finished_when_it_comes_again(
    there: Receiving,
) -> None:
    """One label has ended, and then the ledger takes nothing more (RFC 8935 2.2)."""
    await there.provision("phone")
    between = LedgerBetween(there.service.life.env.ledger)

    async def ended(names: list[str]) -> None:
        between.down = "Revoked" in names

    between.appended = ended
    broken = there.over(there.service.life.over(between).broker)
    token = there.token(CREDENTIAL_COMPROMISE)
    assert (await there.push(token, client=broken)).status_code == 503
    states = [(await there.state(label)).status for label in ("default", "phone")]
    assert sorted(states) == [ACTIVE, REVOKED]
    assert (await there.push(token, replica=1)).status_code == 202
    for label in ("default", "phone"):
        assert (await there.state(label)).status is REVOKED


async def test_one_jti_of_two_transmitters_is_two_events(there: Receiving) -> None:
    other = there.token("https://example.org/other", jti="1")
    assert (await there.push(other)).status_code == 202
    token = there.token(CREDENTIAL_COMPROMISE, jti="1")
    await there.push(token, "/events/guarded", authorization=f"Bearer {SECRET}")
    assert (await there.state()).status is REVOKED


async def test_an_event_of_nobody_known_is_acknowledged_and_recorded(
    there: Receiving,
) -> None:
    token = there.token(sub_id={"format": "opaque", "id": "mallory"})
    assert (await there.push(token)).status_code == 202
    assert there.denials() == [("set:idp", "not_provisioned")]


async def test_what_concerns_no_grant_is_acknowledged(there: Receiving) -> None:
    stream = {"format": "opaque", "id": "stream-1"}
    state: dict[str, object] = {VERIFICATION: {"state": "x"}}
    for token in (
        there.token(state, sub_id=stream),
        there.token("https://example.org/other", sub_id={"format": "email"}),
    ):
        assert (await there.push(token)).status_code == 202
    assert (await there.state()).status is ACTIVE
    assert there.denials() == []


async def test_a_transmitter_with_a_secret_has_to_bring_it(there: Receiving) -> None:
    path = "/events/guarded"
    token = there.token(CREDENTIAL_COMPROMISE)
    for wrong in (None, "Bearer wrong", f"Basic {SECRET}", SECRET, "Bearer"):
        said = await there.push(token, path, authorization=wrong)
        assert said.status_code == 400
        assert said.json()["err"] == "authentication_failed"
    twice = [("content-type", SECEVENT), ("authorization", f"Bearer {SECRET}")]
    twice += [("authorization", "Bearer wrong")]
    said = await there.replicas[0].post(path, content=token, headers=twice)
    assert said.json()["err"] == "authentication_failed"
    assert (await there.state()).status is ACTIVE
    said = await there.push(token, path, authorization=f"Bearer {SECRET}")
    assert said.status_code == 202
    assert (await there.state()).status is REVOKED


async def test_what_cannot_be_recorded_is_not_acknowledged(there: Receiving) -> None:
    """The transmitter then sends it again (RFC 8935 section 2.2)."""
    there.service.life.scene.home.sql("UPDATE log_head SET closed = 'moved'")
    assert (await there.push(there.token())).status_code == 503


async def test_keys_that_cannot_be_fetched_are_no_fault_of_the_token(
    there: Receiving,
) -> None:
    there.keys.on(JWKS, reply({}, 503))
    assert (await there.push(there.token())).status_code == 503
    assert (await there.state()).status is ACTIVE


async def test_without_that_transmitter_there_is_no_such_path(
    there: Receiving,
) -> None:
    for path in ("/events/other", "/events/", "/events/idp/x", "/events/idp%2Fx"):
        assert (await there.push(there.token(), path)).status_code == 404
    said = await there.service.client.post("/events/idp", content=there.token())
    assert said.status_code == 404, "a service without transmitters"
