"""Which token a caller gets, from where, and why it may be refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from grantledger.domain.errors import (
    Denied,
    GrantRevoked,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    LedgerError,
    NotProvisioned,
    Unavailable,
)
from grantledger.domain.grant_state import HeldAccessToken
from grantledger.domain.held_tokens import scopes_to_ask, usable_until
from grantledger.domain.policy import Policy
from grantledger.domain.provider import ProviderRules
from grantledger.domain.requests import Caller, TokenRequest
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    GrantKey,
    Outcome,
    Source,
    TokenFingerprint,
)
from tests.broker.between import LedgerBetween, ServerBetween
from tests.broker.clocks import MovableClock
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, SCOPES, TOKEN, Life, Scene

GENERIC = {"preset": "generic"}
FILES = ("files.read",)
RULES = ProviderRules(name="cloud", issuer="https://as.example", client_id="broker")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@asynccontextmanager
async def timed(scene: Scene) -> AsyncGenerator[tuple[Life, MovableClock]]:
    clock = MovableClock()
    async with scene.open(clock=clock) as life:
        yield life, clock


async def test_a_token_is_used_until_five_minutes_have_passed(start: Start) -> None:
    """Whatever the server says, and never past its lifetime."""
    scene = start("B")
    async with timed(scene) as (life, clock):
        first = await life.token()
        clock.wait(290)
        again = await life.token()
        assert (first.source, again.source) == (Source.FRESH, Source.CACHED)
        assert again.access_token == first.access_token
        clock.wait(11)
        assert (await life.token()).source is Source.FRESH
        assert scene.presented() == ["rotated"] * 2


async def test_a_token_counts_as_missing_half_a_minute_before_its_end(
    start: Start,
) -> None:
    scene = start("B", server={"access_token_seconds": 200})
    async with timed(scene) as (life, clock):
        await life.token()
        clock.wait(165)
        assert (await life.token()).source is Source.CACHED
        clock.wait(6)
        assert (await life.token()).source is Source.FRESH


async def test_a_short_lived_token_is_used_more_than_once(start: Start) -> None:
    """The margin is cut to a quarter (known-failures F29)."""
    scene = start("B", server={"access_token_seconds": 20})
    async with timed(scene) as (life, clock):
        await life.token()
        clock.wait(14)
        assert (await life.token()).source is Source.CACHED
        clock.wait(2)
        assert (await life.token()).source is Source.FRESH
        assert scene.presented() == ["rotated"] * 2


@pytest.mark.parametrize(
    ("lives", "used"), [(900, 300), (310, 280), (200, 170), (100, 75), (20, 15)]
)
def test_how_long_a_token_is_used(lives: int, used: int) -> None:
    token = HeldAccessToken(
        token=None,
        fingerprint=TokenFingerprint("x"),
        asked=(),
        scopes=(),
        audience=None,
        obtained_at=NOW,
        expires_at=NOW + timedelta(seconds=lives),
        generation=1,
        version=1,
    )
    assert usable_until(token, RULES) == NOW + timedelta(seconds=used)


async def test_a_token_that_is_over_on_arrival_costs_one_rotation(start: Start) -> None:
    scene = start("B", server={"access_token_seconds": 3})
    clock = MovableClock()

    async def slow() -> None:
        clock.wait(4)

    async with scene.open(clock=clock) as opened:
        life = opened.with_server(ServerBetween(opened.server, after=slow))
        with pytest.raises(Unavailable, match="over before it arrived"):
            await life.token()
        assert scene.presented() == ["rotated"]
        await life.check()


async def test_a_token_that_just_arrived_will_do(start: Start) -> None:
    """Past its early-refresh margin already: another would be no better."""
    scene = start("B", server={"access_token_seconds": 4})
    clock = MovableClock()

    async def slow() -> None:
        clock.wait(3.2)

    async with scene.open(clock=clock) as opened:
        life = opened.with_server(ServerBetween(opened.server, after=slow))
        handed = await life.token()
        assert handed.source is Source.FRESH
        assert scene.presented() == ["rotated"]


async def test_a_caller_may_ask_for_a_longer_rest(start: Start) -> None:
    scene = start("B")
    async with timed(scene) as (life, clock):
        await life.token()
        clock.wait(200)
        assert (await life.token(min_ttl_seconds=600)).source is Source.CACHED
        clock.wait(50)
        longer = await life.token(min_ttl_seconds=660)
        assert longer.source is Source.FRESH
        # No answer outlives its own lifetime: three quarters of it are enough.
        assert (await life.token(min_ttl_seconds=86_400)).source is Source.CACHED


@pytest.mark.parametrize(
    ("base", "granted", "needed", "whole", "asked"),
    [
        (("email", "openid"), ("a", "openid"), ("a",), False, ("a", "openid")),
        (("openid",), (), ("b", "a"), False, ("a", "b", "openid")),
        ((), ("a",), (), False, ()),
        (("openid",), ("b", "c"), ("b",), True, ("b", "c")),
        (("openid",), (), ("b",), True, ()),
    ],
)
def test_what_is_asked_is_sorted_and_within_the_grant(
    base: tuple[str, ...],
    granted: tuple[str, ...],
    needed: tuple[str, ...],
    asked: tuple[str, ...],
    *,
    whole: bool,
) -> None:
    """RFC 6749 section 6; the order is fixed (known-failures F19)."""
    assert scopes_to_ask(base, granted, needed, whole=whole) == asked


async def test_without_scopes_the_providers_default_is_handed_out(
    start: Start,
) -> None:
    scene = start(**GENERIC, default_scopes=FILES)
    async with scene.open() as life:
        handed = await life.token()
        assert handed.scopes == ("email", "files.read", "openid", "profile")
        assert (await life.token(FILES)).access_token == handed.access_token
        (form,) = scene.proxy.forms(TOKEN)
        assert form["scope"] == "email files.read openid profile"


async def test_a_server_with_one_live_token_is_asked_for_all_at_once(
    start: Start,
) -> None:
    """Else each scope set would kill the other's token (known-failures F31)."""
    scene = start("B")
    async with scene.open() as life:
        wide = await life.token(FILES)
        other = await life.token(("openid",))
        assert other.access_token == wide.access_token
        assert wide.scopes == SCOPES
        assert scene.presented() == ["rotated"]
        (live,) = scene.server.state.live_access_tokens
        assert live.scopes == tuple(SCOPES)


async def test_the_one_token_goes_only_to_callers_who_may_have_all_of_it(
    start: Start,
) -> None:
    scene = start("B")
    scene.home.callers = (
        '[[callers]]\nid = "scanner"\n'
        '[[callers]]\nid = "mail"\nscopes = ["email"]\n'
        '[[callers]]\nid = "both"\nscopes = ["email"]\n'
        '[[callers]]\nid = "both"\n'
    )
    async with scene.open() as life:
        await life.token(("email",))
        with pytest.raises(Denied) as refused:
            await life.token(("email",), Caller("mail"))
        assert refused.value.reason == "token_wider_than_rule"
        # A later rule covers the token, where the first covers the request.
        await life.token(("email",), Caller("both"))
        with pytest.raises(Denied) as refused:
            await life.token((), Caller("nobody"))
        assert refused.value.reason == "no_rule"
        assert scene.presented() == ["rotated"]


async def test_a_rotation_ends_the_token_before_it(start: Start) -> None:
    scene = start("B")
    async with scene.open() as life:
        before = await life.token()
        await life.rotate()
        after = await life.token()
        assert after.source is Source.CACHED
        assert after.access_token != before.access_token


async def test_crafted_names_are_nobody_elses(start: Start) -> None:
    """A joined cache key would give alice's token away (known-failures F30)."""
    scene = start(**GENERIC)
    async with scene.open() as life:
        handed = await life.token(FILES)
        for key in (
            GrantKey("cloud", "alice:background:files.read"),
            GrantKey("cloud", "alice", "default files.read"),
            GrantKey("cloud", "alic", "edefault"),
        ):
            with pytest.raises(NotProvisioned):
                await life.broker.hand_out(CALLER, TokenRequest(key))
        mallory = GrantKey("cloud", "alice:background:files.read")
        await life.provision(scene.consent(key=mallory))
        other = await life.broker.hand_out(CALLER, TokenRequest(mallory, FILES))
        assert other.access_token != handed.access_token


# What another replica has changed meanwhile.


async def test_a_refusal_is_decided_on_a_state_read_now(start: Start) -> None:
    """Consent was widened, or given again, through another broker."""
    scene = start(**GENERIC)
    async with scene.open(provision=False) as one:
        await one.provision(scene.consent(("openid",)))
        async with scene.open(provision=False) as two:
            await one.token(("openid",))
            with pytest.raises(InvalidScope, match=r"beyond the grant: files\.read"):
                await one.token(FILES)
            await two.provision(scene.consent(("files.read", "openid")))
            assert (await one.token(FILES)).generation == 2
            await two.broker.revoke(CALLER, scene.key)
            with pytest.raises(GrantRevoked):
                await one.token(FILES)
            await two.provision(scene.consent())
            assert (await one.token(FILES)).generation == 3


async def test_a_redemption_is_decided_on_a_state_read_now(start: Start) -> None:
    """Another broker has refreshed: its token is used, none is redeemed."""
    scene = start("B")
    async with scene.open() as one, scene.open(provision=False) as two:
        await one.token()
        await two.rotate()
        clock = await two.token()
        assert clock.source is Source.CACHED
        state = await one.state()
        assert state.refresh is not None
        handed = await one.token(min_ttl_seconds=0)
        assert handed.access_token == clock.access_token
        assert scene.presented() == ["rotated"] * 2


# What is wrong with the request, and that it is recorded.


async def test_a_request_out_of_bounds_names_its_field(start: Start) -> None:
    scene = start("B")
    key = scene.key
    async with scene.open() as life:
        for seconds in (-1.0, float("nan"), 86_401.0):
            with pytest.raises(InvalidRequest) as refused:
                await life.token(min_ttl_seconds=seconds)
            assert refused.value.field == "min_ttl_seconds"
        with pytest.raises(InvalidRequest) as refused:
            await life.token(reason="x" * 501)
        assert refused.value.field == "reason"
        for field, name in (
            ("provider", GrantKey("", "alice")),
            ("subject", GrantKey("cloud", "")),
            ("subject", GrantKey("cloud", "a" * 513)),
            ("subject", GrantKey("cloud", "a\nb")),
            ("label", GrantKey("cloud", "alice", "")),
        ):
            with pytest.raises(InvalidRequest) as refused:
                TokenRequest(name)
            assert refused.value.field == field
        with pytest.raises(InvalidRequest, match="known: cloud"):
            await life.broker.hand_out(CALLER, TokenRequest(GrantKey("x", "alice")))
        assert key.label == "default"


async def test_an_audience_that_the_provider_lacks_is_refused_unsent(
    start: Start,
) -> None:
    scene = start("B")
    async with scene.open() as life:
        with pytest.raises(InvalidTarget):
            await life.token(audience="nowhere")
        assert scene.proxy.count(TOKEN) == 0
        assert await life.names() == ["Provisioned"]


async def test_a_resource_is_sent_with_the_refresh(start: Start) -> None:
    """By the provider's table (known-failures F20)."""
    target = "https://files.example.org/api"
    scene = start(**GENERIC, audience="files", resources={"files": target})
    async with scene.open() as life:
        handed = await life.token()
        assert handed.audience == "files"
        (form,) = scene.proxy.forms(TOKEN)
        assert form["resource"] == target


async def test_every_refusal_is_recorded_with_its_reason(start: Start) -> None:
    scene = start(**GENERIC)
    scene.home.callers = (
        '[[callers]]\nid = "scanner"\n[[callers]]\nid = "mail"\nsubjects = ["bob"]\n'
    )
    agent = Caller(
        "scanner",
        act_chain=("agent", "tool"),
        peer_ip="192.0.2.7",
        user_agent="probe/1",
        correlation_id="c-1",
    )
    async with scene.open() as life:
        await life.token()
        with pytest.raises(Denied):
            await life.token((), Caller("mail"))
        with pytest.raises(InvalidScope):
            await life.token(("admin",), agent, reason="audit")
        with pytest.raises(InvalidTarget):
            await life.token(audience="nowhere")
        _, *denied = await life.entries()
        reasons = [e.reason for e in denied]
        assert reasons == ["no_rule", "invalid_scope", "invalid_target"]
        assert {e.outcome for e in denied} == {Outcome.DENIED}
        told = denied[1].private
        assert told is not None
        assert told.scopes_asked == ("admin",)
        assert told.detail == "audit"
        assert told.actor == agent.actor
        await life.token((), agent, reason="why")
        *_, handed = await life.entries()
        assert handed.private is not None
        assert handed.private.detail == "why"


async def test_a_refused_rotation_is_recorded_too(start: Start) -> None:
    scene = start("B")
    scene.home.callers = '[[callers]]\nid = "scanner"\n'
    async with scene.open() as life:
        await life.token()
        with pytest.raises(Denied):
            await life.broker.rotate(Caller("mail"), scene.key)
        with pytest.raises(NotProvisioned):
            await life.broker.rotate(CALLER, GrantKey("cloud", "bob"))
        await life.broker.revoke(CALLER, scene.key)
        with pytest.raises(GrantRevoked):
            await life.rotate()
        assert await life.outcomes() == [
            Outcome.HANDED_OUT,
            Outcome.DENIED,
            Outcome.DENIED,
        ]
        assert scene.presented() == ["rotated"]


async def test_a_ledger_that_contradicts_itself_is_its_own_error(start: Start) -> None:
    scene = start("B")
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        ledger.unreadable = True
        ledger.error = LedgerError("the row was changed")
        life = opened.over(ledger)
        with pytest.raises(LedgerError):
            await life.token()
        with pytest.raises(LedgerError):
            await life.rotate()
        assert await opened.outcomes() == []


async def test_a_redemption_names_the_policy_that_its_caller_was_let_by(
    start: Start,
) -> None:
    """Whatever is read in while the grant is looked up."""
    scene = start("B")
    async with scene.open() as opened:

        class Reloading(LedgerBetween):
            async def find(self, key: GrantKey) -> UserGrant | None:
                life.broker.env.policy = replace(Policy.open(), version="newer")
                return await super().find(key)

        life = opened.over(Reloading(opened.env.ledger))
        await life.token()
        (intended,) = [e for e in await life.events() if hasattr(e, "lease_seconds")]
        (entry,) = await life.entries()
        assert (intended.policy, entry.policy) == ("open", "open")
