"""What goes wrong at the token endpoint: events, the server's view, the caller's error.

The ledger is a real file, the server a real one, the proxy between them breaks it.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from grantledger.domain.errors import (
    ClientExpired,
    GrantledgerError,
    InvalidScope,
    RateLimited,
    ReauthorizationRequired,
    Unavailable,
    UpstreamRejected,
)
from grantledger.domain.values import (
    FailureClass,
    GrantStatus,
    Outcome,
    ReauthorizationReason,
    RotationReason,
)
from tests.broker.clocks import MovableClock
from tests.broker.conftest import Start
from tests.broker.scene import TOKEN, Scene
from tests.support.fault_proxy import Fault, FaultProxy

FILES = ("files.read",)
GENERIC = {"preset": "generic", "unknown_outcome": {"rule": "quarantine"}}


CLEAR_REFUSALS: list[tuple[Fault, type[GrantledgerError], FailureClass]] = [
    (Fault.status(503, "soon"), Unavailable, FailureClass.TRANSIENT),
    (Fault.THROTTLED, RateLimited, FailureClass.RATE_LIMITED),
    (Fault.UNAUTHORIZED_ODD, UpstreamRejected, FailureClass.INVALID_CLIENT),
    (Fault.status(401, "<html>"), UpstreamRejected, FailureClass.INVALID_CLIENT),
    (Fault.status(401), UpstreamRejected, FailureClass.INVALID_CLIENT),
    (
        Fault.status(400, '{"error": "expired_client"}'),
        ClientExpired,
        FailureClass.EXPIRED_CLIENT,
    ),
    (
        Fault.status(400, '{"error": "invalid_scope"}'),
        InvalidScope,
        FailureClass.INVALID_SCOPE,
    ),
    (Fault.status(404, "nothing"), UpstreamRejected, FailureClass.MISCONFIGURED),
    (Fault.REDIRECT_302, UpstreamRejected, FailureClass.MISCONFIGURED),
]


@pytest.mark.parametrize(
    ("fault", "error", "failure"),
    CLEAR_REFUSALS,
    ids=[f"{n}-{f.name}" for n, (f, _, _) in enumerate(CLEAR_REFUSALS)],
)
async def test_a_refusal_is_told_apart_and_the_grant_goes_on(
    start: Start, fault: Fault, error: type[GrantledgerError], failure: FailureClass
) -> None:
    """Not one of them is "not provisioned" (known-failures F26)."""
    scene = start("B")
    clock = MovableClock()
    scene.proxy.plan(TOKEN, fault)
    async with scene.open(clock=clock) as life:
        with pytest.raises(error) as refused:
            await life.token()
        assert type(refused.value) is error
        *_, failed = await life.events()
        assert (failed.failure, failed.sent) == (failure, True)
        state = await life.state()
        assert state.status is GrantStatus.ACTIVE
        assert state.ambiguity is None
        if failure is not FailureClass.INVALID_SCOPE:  # that one holds up nobody
            with pytest.raises(error) as again:
                await life.token()
            assert type(again.value) is error
        assert scene.proxy.count(TOKEN) == 1
        clock.wait(400)
        await life.token()
        assert scene.presented() == ["rotated"]
        await life.check()


async def test_retry_after_is_kept_to(start: Start) -> None:
    scene = start("B")
    clock = MovableClock()
    scene.proxy.plan(TOKEN, Fault.status(429, "{}", {"Retry-After": "40"}))
    async with scene.open(clock=clock) as life:
        with pytest.raises(RateLimited) as refused:
            await life.token()
        assert refused.value.retry_after == 40
        clock.wait(35)
        with pytest.raises(Unavailable) as early:
            await life.token()
        assert early.value.retry_after == pytest.approx(5, abs=1)
        clock.wait(6)
        await life.token()
        assert scene.proxy.count(TOKEN) == 2


async def test_another_origin_receives_nothing(start: Start) -> None:
    """A 307 would carry refresh token and client secret along (known-failures F23)."""
    scene = start("B")
    with FaultProxy(scene.server.issuer) as thief:
        scene.proxy.plan(TOKEN, Fault.redirect_307(f"{thief.url}/token"))
        async with scene.open() as life:
            with pytest.raises(UpstreamRejected):
                await life.token()
            assert thief.requests == []
            assert scene.presented() == []


async def test_the_rotation_in_a_malformed_answer_is_kept(start: Start) -> None:
    """It is stored before the access token is looked at (known-failures F1, F2)."""
    scene = start("B")
    clock = MovableClock()
    scene.proxy.plan(TOKEN, Fault.NO_ACCESS_TOKEN)
    async with scene.open(clock=clock) as life:
        with pytest.raises(UpstreamRejected):
            await life.token()
        assert await life.names() == [
            "Provisioned",
            "RedemptionIntended",
            "Rotated",
            "RedemptionFailed",
        ]
        await life.check()
        clock.wait(400)
        await life.token()
        assert scene.presented() == ["rotated", "rotated"]
        await life.check()


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("900", 900),
        (900.7, 900),
        ("60.5", 60),
        (0, 900),
        (-5, 900),
        ("soon", 900),
        (None, 900),
        ([900], 900),
        (True, 900),
        (1e300, 315_360_000),
    ],
)
async def test_a_lifetime_of_any_shape_is_read_or_defaulted(
    start: Start, said: object, seconds: int
) -> None:
    """The server has rotated: nothing of it may be lost (known-failures F3)."""
    scene = start("B")

    def change(body: dict[str, Any]) -> dict[str, Any]:
        return body | {"expires_in": said}

    scene.proxy.plan(TOKEN, Fault.rewrite_json(change))
    async with scene.open() as life:
        handed = await life.token()
        exchanged = (await life.events())[-1]
        lived = (exchanged.expires_at - exchanged.obtained_at).total_seconds()
        assert lived == pytest.approx(seconds, rel=0.01)
        assert handed.expires_at == exchanged.expires_at
        await life.check()


@pytest.mark.parametrize("profile", ["A", "B"])
async def test_lifetimes_are_the_servers_own(start: Start, profile: str) -> None:
    """Neither invented nor taken from the access token (known-failures F6)."""
    scene = start(profile)
    async with scene.open() as life:
        await life.token()
        state = await life.state()
        assert state.refresh is not None
        assert state.refresh.expires_at is not None
        lived = (state.refresh.expires_at - state.refresh.obtained_at).total_seconds()
        assert lived == pytest.approx(86_400, abs=5)


async def test_a_successor_without_a_lifetime_has_none(start: Start) -> None:
    scene = start("B")

    def change(body: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in body.items() if k != "refresh_expires_in"}

    scene.proxy.plan(TOKEN, Fault.rewrite_json(change))
    clock = MovableClock()
    async with scene.open(clock=clock) as life:
        await life.token()
        state = await life.state()
        assert state.refresh is not None
        assert state.refresh.expires_at is None
        clock.wait(1000)
        assert not await life.broker.expire(state.grant_id)


async def test_a_narrower_token_than_needed_is_not_handed_out(start: Start) -> None:
    scene = start(**GENERIC)

    def change(body: dict[str, Any]) -> dict[str, Any]:
        return body | {"scope": "openid"}

    scene.proxy.plan(TOKEN, Fault.rewrite_json(change), times=2)
    async with scene.open() as life:
        with pytest.raises(InvalidScope, match=r"did not grant: files\.read"):
            await life.token(FILES)
        with pytest.raises(InvalidScope):
            await life.token(FILES)
        assert scene.presented() == ["rotated"]
        assert Outcome.HANDED_OUT not in await life.outcomes()
        await life.check()


async def test_the_granted_scope_is_what_is_recorded(start: Start) -> None:
    """A wider token is not taken for what was asked (known-failures F19)."""
    scene = start(**GENERIC)
    scene.home.callers = '[[callers]]\nid = "scanner"\nscopes = ["files.read"]\n'
    scene.configure(**GENERIC, base_scopes=[])
    scene.proxy.plan(
        TOKEN, Fault.rewrite_json(lambda b: b | {"scope": "files.read admin"})
    )
    async with scene.open() as life:
        with pytest.raises(GrantledgerError, match="more scopes"):
            await life.token(FILES)
        assert (await life.events())[-1].scopes == ("admin", "files.read")
        (form,) = scene.proxy.forms(TOKEN)
        assert form["scope"] == "files.read"
        *_, denied = await life.entries()
        assert denied.reason == "token_wider_than_rule"


async def test_a_missing_successor_means_that_the_old_token_is_kept(
    start: Start,
) -> None:
    """RFC 6749 section 6."""
    scene = start(**GENERIC)
    scene.proxy.plan(TOKEN, Fault.NO_REFRESH_TOKEN)
    async with scene.open() as life:
        before = await life.refresh_sha256()
        await life.token()
        assert await life.names() == ["Provisioned", "RedemptionIntended", "Exchanged"]
        assert await life.refresh_sha256() == before


async def test_where_each_use_spends_the_token_a_missing_successor_ends_the_grant(
    start: Start,
) -> None:
    """Profile A without offline_access rotates and does not say to what."""
    scene = start("A")
    async with scene.open() as life:
        scene.server.state.narrow_grant("family-1", ("openid", "profile"))
        with pytest.raises(ReauthorizationRequired) as refused:
            await life.token()
        assert refused.value.reason is ReauthorizationReason.CONSUMED
        assert (await life.names())[-2:] == ["Exchanged", "ReauthorizationRequired"]
        assert scene.presented() == ["rotated"]


async def test_a_changed_subject_is_stored_and_nothing_leaves(start: Start) -> None:
    """The rotation is durable before the check that fails (known-failures F7)."""
    scene = start("B")
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "mallory"}).encode())
    forged = f"e30.{claims.decode().rstrip('=')}.c2ln"
    scene.proxy.plan(TOKEN, Fault.rewrite_json(lambda b: b | {"id_token": forged}))
    async with scene.open(provision=False) as life:
        await life.provision(replace(scene.consent(), upstream_subject="alice"))
        with pytest.raises(ReauthorizationRequired) as refused:
            await life.token()
        assert refused.value.reason is ReauthorizationReason.SUBJECT_CHANGED
        assert (await life.names())[-3:] == [
            "Rotated",
            "Exchanged",
            "ReauthorizationRequired",
        ]
        assert Outcome.HANDED_OUT not in await life.outcomes()
        await life.check()


@pytest.mark.parametrize("profile", ["A", "B"])
async def test_withdrawn_consent_is_told_from_theft(start: Start, profile: str) -> None:
    scene = start(profile)
    async with scene.open() as life:
        scene.server.state.withdraw_consent("alice", scene.client.client_id)
        with pytest.raises(ReauthorizationRequired) as refused:
            await life.token()
        assert refused.value.reason is ReauthorizationReason.CONSENT_WITHDRAWN


async def test_a_token_that_somebody_else_has_used_raises_the_alarm(
    start: Start,
) -> None:
    """No lost answer of ours explains it: reuse, with the evidence (F13)."""
    scene = start("B")
    async with scene.open(provision=False) as life:
        token = scene.issue()
        await life.provision(scene.consent(refresh_token=token))
        thief = replay_of(scene, token)
        assert thief == 200
        with pytest.raises(ReauthorizationRequired) as refused:
            await life.token()
        assert refused.value.reason is ReauthorizationReason.REUSE_SUSPECTED
        required = (await life.events())[-1]
        assert "already been used" in required.evidence


def replay_of(scene: Scene, token: str) -> int:
    """Redeem `token` as a thief who has the client's secret would."""
    form = {
        "grant_type": "refresh_token",
        "refresh_token": token,
        "client_id": scene.client.client_id,
        "client_secret": scene.client.client_secret,
    }
    return httpx.post(f"{scene.server.base_url}/token", data=form).status_code


async def test_a_rotation_keeps_what_consent_said(start: Start) -> None:
    """Flow, scopes and time of consent stay (known-failures F5)."""
    scene = start("B")
    async with scene.open() as life:
        before = (await life.state()).provisioning
        await life.token()
        await life.rotate()
        after = (await life.state()).provisioning
        assert after == before
        assert after.flow == "import"
        rotated = [e for e in await life.events() if type(e).__name__ == "Rotated"]
        assert [e.reason for e in rotated] == [RotationReason.REDEEMED] * 2
        await life.check()
