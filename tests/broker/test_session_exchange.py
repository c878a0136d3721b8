"""A user's session token for one of another audience (RFC 8693), on a real server."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from grantledger.adapters.devserver.tokens import sha256
from grantledger.domain.errors import (
    Denied,
    GrantledgerError,
    GrantRevoked,
    InvalidRequest,
    InvalidScope,
    InvalidSubjectToken,
    InvalidTarget,
    LedgerError,
    NotProvisioned,
    RateLimited,
    Unavailable,
    Unsupported,
    UpstreamRejected,
)
from grantledger.domain.requests import HandedOut
from grantledger.domain.values import AccessToken, Outcome, Scopes, Source
from tests.broker.between import LedgerBetween, ServerBetween
from tests.broker.clocks import MovableClock
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, RESOURCE, TOKEN, Life, Scene
from tests.support.fault_proxy import Fault

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TABLE = {"resources": {"files": RESOURCE, "closed": "https://closed.example.org"}}
THEN_REFRESH = {**TABLE, "exchange_strategy": "exchange-then-refresh"}


def session(scene: Scene, user: str = "alice", client: str | None = None) -> str:
    return scene.server.issue_session_token(
        user, client or scene.client.client_id, ("openid", "profile")
    )


async def exchange(
    life: Life, token: str, audience: str | None = "files", scopes: Scopes = ()
) -> HandedOut:
    return await life.broker.exchange_session(
        CALLER, "cloud", AccessToken(token), scopes=scopes, audience=audience
    )


def exchanges(scene: Scene) -> list[dict[str, str]]:
    forms = scene.proxy.forms(TOKEN)
    return [form for form in forms if form["grant_type"] == EXCHANGE]


async def test_an_audience_becomes_the_resource_of_the_table(start: Start) -> None:
    scene = start("B", **TABLE)
    async with scene.open() as life:
        token = session(scene)
        handed = await exchange(life, token)
        assert handed.source is Source.EXCHANGED
        assert handed.audience == "files"
        assert handed.scopes == ("openid", "profile")
        (form,) = exchanges(scene)
        assert form["resource"] == RESOURCE
        assert form["subject_token"] == token
        assert form["requested_token_type"].endswith(":access_token")
        assert {"audience", "actor_token"}.isdisjoint(form)
        issued = scene.server.state.access_tokens[sha256(handed.access_token.reveal())]
        assert issued.audience == RESOURCE
        assert issued.user == "alice"
        intended, done = await life.entries()
        assert intended.outcome is Outcome.EXCHANGE_INTENDED
        assert done.outcome is Outcome.HANDED_OUT
        assert done.source is Source.EXCHANGED
        assert intended.request_id == done.request_id == handed.request_id
        assert done.private is not None
        assert done.private.fingerprint is not None
        assert done.scopes == handed.scopes
        assert await life.names() == ["Provisioned"], "the grant is not touched"


async def test_an_exchanged_token_is_neither_stored_nor_cached(start: Start) -> None:
    scene = start("B", **TABLE)
    async with scene.open() as life:
        token = session(scene)
        first, second = await exchange(life, token), await exchange(life, token)
        assert first.access_token != second.access_token
        assert len(exchanges(scene)) == 2
        assert (await life.state()).access_tokens == ()
        receipt = await life.broker.revoke(CALLER, scene.key)
        assert [x.count for x in receipt.live] == [1, 1]


async def test_it_never_outlives_five_minutes_or_its_session(start: Start) -> None:
    scene = start("B", **TABLE)
    clock = MovableClock()
    async with scene.open(clock=clock) as life:
        token = session(scene)
        handed = await exchange(life, token)
        left = (handed.expires_at - clock.now()).total_seconds()
        assert 295 < left <= 300
        clock.wait(850)
        late = await exchange(life, token)
        assert (late.expires_at - clock.now()).total_seconds() <= 50


async def test_a_lifetime_that_nobody_names_is_five_minutes(start: Start) -> None:
    scene = start("B", **TABLE)

    def unsaid(body: dict[str, object]) -> dict[str, object]:
        return {k: v for k, v in body.items() if k not in {"expires_in", "scope"}}

    scene.proxy.plan(TOKEN, Fault.rewrite_json(unsaid))
    async with scene.open() as life:
        handed = await exchange(life, session(scene))
        left = (handed.expires_at - life.env.clock.now()).total_seconds()
        assert 295 < left <= 300
        assert handed.scopes == ("openid", "profile"), "as wide as the session"


async def test_a_name_outside_the_table_is_refused_unsent(start: Start) -> None:
    scene = start("B", **TABLE)
    async with scene.open() as life:
        with pytest.raises(InvalidTarget, match="known: closed, files"):
            await exchange(life, session(scene), "mail")
        assert exchanges(scene) == []


async def test_a_resource_that_the_server_does_not_list_is_refused(
    start: Start,
) -> None:
    scene = start("B", **TABLE)
    async with scene.open() as life:
        with pytest.raises(InvalidTarget, match="refused the target"):
            await exchange(life, session(scene), "closed")
        assert await life.outcomes() == [
            Outcome.EXCHANGE_INTENDED,
            Outcome.EXCHANGE_FAILED,
        ]
        assert (await life.entries())[-1].reason == "invalid_target"


async def test_a_user_without_a_grant_is_refused(start: Start) -> None:
    """What consent allows is what exchange may do."""
    scene = start("B", **TABLE)
    async with scene.open() as life:
        with pytest.raises(NotProvisioned):
            await exchange(life, session(scene, "bob"))
        assert exchanges(scene) == []


async def forged(scene: Scene, **changes: object) -> str:
    """Return alice's session token with other claims, and no signature."""
    _, payload, _ = session(scene).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    header = {"alg": "none", "typ": "at+jwt"}
    parts = [json.dumps(p).encode() for p in (header, claims | changes)]
    coded = [base64.urlsafe_b64encode(p).decode().rstrip("=") for p in parts]
    return ".".join([*coded, ""])


async def bad_tokens(scene: Scene) -> dict[str, str]:
    stranger = scene.server.state.register_client()
    good = session(scene)
    head, payload, signature = good.split(".")
    other = session(scene, "bob").split(".")[1]
    opaque = scene.server.issue_grant("alice", scene.client.client_id).access_token
    return {
        "meant for another client": session(scene, client=stranger.client_id),
        "without a signature": await forged(scene),
        "of another subject": f"{head}.{other}.{signature}",
        "by mail address": await forged(scene, sub=None, email="alice"),
        "cut short": f"{head}.{payload}",
        "opaque": opaque,
        "empty": "",
    }


@pytest.mark.parametrize("strategy", ["token-exchange", "exchange-then-refresh"])
async def test_a_token_that_does_not_verify_is_refused(
    start: Start, strategy: str
) -> None:
    """Only the verified subject selects a grant (known-failures F21)."""
    scene = start("B", **TABLE, exchange_strategy=strategy)
    async with scene.open() as life:
        for token in (await bad_tokens(scene)).values():
            with pytest.raises(InvalidSubjectToken):
                await exchange(life, token)
        assert scene.proxy.count(TOKEN) == 0
        assert await life.outcomes() == []


async def test_an_expired_session_is_refused(start: Start) -> None:
    scene = start("B", **TABLE)
    clock = MovableClock()
    async with scene.open(clock=clock) as life:
        token = session(scene)
        clock.wait(931)
        with pytest.raises(InvalidSubjectToken):
            await exchange(life, token)


async def test_a_session_that_the_server_has_ended_is_refused(start: Start) -> None:
    """No other grant is tried instead (known-failures F22)."""
    scene = start("B", **THEN_REFRESH)
    async with scene.open() as life:
        token = session(scene)
        scene.server.state.withdraw_consent("alice", scene.client.client_id)
        with pytest.raises(InvalidSubjectToken, match="refuses the session token"):
            await exchange(life, token)
        assert scene.presented() == []
        assert (await life.entries())[-1].reason == "invalid_grant"


REFUSED: list[tuple[Fault, type[GrantledgerError]]] = [
    (Fault.status(503, "", {"Retry-After": "9"}), Unavailable),
    (Fault.THROTTLED, RateLimited),
    (Fault.UNAUTHORIZED_ODD, UpstreamRejected),
    (Fault.status(400, '{"error": "invalid_request"}'), UpstreamRejected),
    (Fault.status(400, '{"error": "invalid_scope"}'), InvalidScope),
    (Fault.NO_ACCESS_TOKEN, GrantledgerError),
    (
        Fault.rewrite_json(lambda b: b | {"issued_token_type": "urn:x:refresh_token"}),
        UpstreamRejected,
    ),
]


@pytest.mark.parametrize(
    ("fault", "error"),
    REFUSED,
    ids=[f"{n}-{f.name}" for n, (f, _) in enumerate(REFUSED)],
)
async def test_no_other_failure_leads_to_a_weaker_grant(
    start: Start, fault: Fault, error: type[GrantledgerError]
) -> None:
    scene = start("B", **THEN_REFRESH)
    scene.proxy.plan(TOKEN, fault)
    async with scene.open() as life:
        with pytest.raises(error):
            await exchange(life, session(scene))
        assert scene.presented() == []
        assert await life.outcomes() == [
            Outcome.EXCHANGE_INTENDED,
            Outcome.EXCHANGE_FAILED,
        ]


@pytest.mark.parametrize("profile", ["A", "B"])
async def test_a_server_without_exchange_gives_a_refreshed_token_if_so_configured(
    start: Start, profile: str
) -> None:
    scene = start(profile, exchange_strategy="exchange-then-refresh")
    if profile == "B":
        unknown = Fault.status(400, '{"error": "unsupported_grant_type"}')
        scene.proxy.plan(TOKEN, unknown)
    async with scene.open() as life:
        handed = await exchange(life, session(scene), None)
        assert handed.source is Source.FRESH
        assert scene.presented() == ["rotated"]
        assert await life.outcomes() == [
            Outcome.EXCHANGE_INTENDED,
            Outcome.EXCHANGE_FAILED,
            Outcome.HANDED_OUT,
        ]


async def test_profile_a_has_no_exchange_and_says_so(start: Start) -> None:
    scene = start("A")
    async with scene.open() as life:
        with pytest.raises(Unsupported):
            await exchange(life, session(scene), None)
        assert scene.proxy.count(TOKEN) == 0, "its metadata does not list it"


async def test_the_strategy_can_be_a_refresh_from_the_start(start: Start) -> None:
    scene = start("B", exchange_strategy="refresh")
    async with scene.open() as life:
        handed = await exchange(life, session(scene), None)
        assert handed.source is Source.FRESH
        assert exchanges(scene) == []
        await life.broker.revoke(CALLER, scene.key)
        with pytest.raises(GrantRevoked):
            await exchange(life, session(scene), None)
        assert await life.outcomes() == [Outcome.HANDED_OUT, Outcome.DENIED]


async def test_a_provider_that_verifies_nothing_exchanges_nothing(
    start: Start,
) -> None:
    scene = start("B", **THEN_REFRESH)
    async with scene.open() as opened:
        blind = replace(opened.env.provider("cloud"), verifier=None)
        life = opened.over(providers={"cloud": blind})
        with pytest.raises(Unsupported):
            await exchange(life, session(scene))


async def test_a_revoked_grant_exchanges_nothing(start: Start) -> None:
    scene = start("B", **TABLE)
    async with scene.open() as life:
        token = session(scene)
        await life.broker.revoke(CALLER, scene.key)
        with pytest.raises(GrantRevoked):
            await exchange(life, token)
        assert exchanges(scene) == []


async def test_a_grant_revoked_meanwhile_lets_no_token_out(start: Start) -> None:
    """The exchanged token does not leave, and ends at the server."""
    scene = start("B", **TABLE)
    async with scene.open() as opened:
        server = ServerBetween(opened.server)

        async def end() -> None:
            await opened.broker.revoke(CALLER, scene.key, settle=False)

        server.exchanged = end
        with pytest.raises(GrantRevoked):
            await exchange(opened.with_server(server), session(scene))
        assert await opened.outcomes() == [
            Outcome.EXCHANGE_INTENDED,
            Outcome.DENIED,
        ]
        children = [
            a for a in scene.server.state.access_tokens.values() if a.parent_sha256
        ]
        assert [child.ended for child in children] == [True]


async def test_what_cannot_be_recorded_is_not_exchanged(start: Start) -> None:
    scene = start("B", **TABLE)
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        life = opened.over(ledger)
        ledger.down = True
        with pytest.raises(Unavailable):
            await exchange(life, session(scene))
        assert exchanges(scene) == []
        ledger.error = LedgerError("broken")
        with pytest.raises(LedgerError):
            await exchange(life, session(scene))


async def test_an_exchange_on_a_grant_that_never_stands_still_is_given_up(
    start: Start,
) -> None:
    scene = start("B", **TABLE)
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        life = opened.over(ledger, release_limit_seconds=-1.0)

        async def change() -> None:
            await opened.rotate()

        ledger.recorded = change
        with pytest.raises(Unavailable, match="keeps changing"):
            await exchange(life, session(scene))


async def test_consent_and_policy_bound_what_is_exchanged(start: Start) -> None:
    scene = start("B", **TABLE)
    scene.home.callers = (
        '[[callers]]\nid = "scanner"\naudiences = ["files"]\nscopes = ["openid"]\n'
    )
    async with scene.open(provision=False) as life:
        await life.provision(scene.consent(("openid", "offline_access")))
        token = session(scene)
        with pytest.raises(Denied):
            await exchange(life, token, "closed")
        with pytest.raises(Denied):
            await exchange(life, token, scopes=("profile",))
        # The session is wider than consent, and nothing narrower was asked for.
        with pytest.raises(InvalidScope, match="beyond the grant: profile"):
            await exchange(life, token)
        handed = await exchange(life, token, scopes=("openid",))
        assert handed.scopes == ("openid",)
        assert len(exchanges(scene)) == 2


async def test_a_token_wider_than_the_rule_is_refused_and_ended(start: Start) -> None:
    scene = start("B", **TABLE)
    scene.home.callers = '[[callers]]\nid = "scanner"\nscopes = ["openid"]\n'
    async with scene.open() as life:
        with pytest.raises(Denied) as refused:
            await exchange(life, session(scene))
        assert refused.value.reason == "token_wider_than_rule"
        assert (await life.entries())[-1].outcome is Outcome.EXCHANGE_FAILED
        assert scene.proxy.count("/revoke") == 1


async def test_a_narrower_answer_than_asked_is_refused(start: Start) -> None:
    scene = start("B", **TABLE)
    scene.proxy.plan(TOKEN, Fault.rewrite_json(lambda b: b | {"scope": "openid"}))
    async with scene.open() as life:
        with pytest.raises(InvalidScope, match="did not grant: profile"):
            await exchange(life, session(scene), scopes=("openid", "profile"))


async def test_scopes_beyond_the_grant_are_not_even_asked_for(start: Start) -> None:
    scene = start("B", **TABLE)
    async with scene.open() as life:
        with pytest.raises(InvalidScope, match="beyond the grant: admin"):
            await exchange(life, session(scene), scopes=("admin",))
        assert exchanges(scene) == []


async def test_an_unknown_provider_is_refused_by_name(start: Start) -> None:
    scene = start("B", **TABLE)
    async with scene.open() as life:
        with pytest.raises(InvalidRequest, match="known: cloud"):
            await life.broker.exchange_session(CALLER, "nowhere", AccessToken("x"))
