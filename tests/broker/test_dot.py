"""The broker against django-oauth-toolkit: a server that others wrote.

It rotates, gives a lost answer again for some seconds, and ends the family when a
used token comes back later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
import pytest

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.upstream.consent import ConsentStart
from grantledger.domain.answers import UpstreamFailure
from grantledger.domain.errors import (
    GrantRevoked,
    ReauthorizationRequired,
    Unsupported,
    UpstreamRejected,
)
from grantledger.domain.giving_back import GivenBack
from grantledger.domain.requests import HandedOut, TokenRequest
from grantledger.domain.user_grant import Consent
from grantledger.domain.values import (
    AccessToken,
    GrantKey,
    GrantStatus,
    ReauthorizationReason,
    RefreshToken,
    Scopes,
    Source,
    parse_scopes,
)
from tests.broker.scene import BUDGET_SECONDS, CALLER, MARGIN_SECONDS, Home
from tests.support.dot_server import REDIRECT_URI, SCOPES, DotServer
from tests.support.fault_proxy import Fault, FaultProxy

TOKEN, REVOKE = "/token/", "/revoke_token/"
GRACE_RULE = {"rule": "retry_within_grace", "seconds": 10.0}
users = count()


@pytest.fixture(scope="session")
def dot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DotServer]:
    """One server for all tests; each uses a user of its own."""
    with DotServer(tmp_path_factory.mktemp("dot")) as server:
        yield server


@dataclass
class Case:
    """A user with a grant at the server, and a broker that reaches it by a proxy."""

    server: DotServer
    proxy: FaultProxy
    home: Home
    opened: OpenBroker
    key: GrantKey

    @property
    def user(self) -> str:
        return self.key.subject

    async def provision(self) -> str:
        token = await asyncio.to_thread(self.server.grant, self.user)
        consent = Consent(
            key=self.key,
            client_id=self.server.client_id,
            flow="import",
            scopes=parse_scopes(SCOPES),
            refresh_token=RefreshToken(token),
        )
        await self.opened.broker.provision(CALLER, consent)
        return token

    async def token(self, scopes: Scopes = ()) -> HandedOut:
        return await self.opened.broker.hand_out(CALLER, TokenRequest(self.key, scopes))

    async def current(self) -> str | None:
        """The refresh token that the next redemption presents."""
        grant = await self.opened.broker.status(self.key)
        assert grant is not None
        refresh = grant.state.refresh
        return None if refresh is None else refresh.token.reveal()

    async def live(self) -> list[str]:
        """The refresh tokens that the server still takes."""
        said = await asyncio.to_thread(self.server.tokens, self.user)
        return list(said["live"])

    async def accepted(self, token: AccessToken) -> bool:
        """Whether the server takes the access token."""
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"{self.server.issuer}/userinfo/", headers=headers)
        return answer.status_code == 200


@asynccontextmanager
async def case(dot: DotServer, folder: Path, **said: object) -> AsyncGenerator[Case]:
    home = Home(folder)
    with FaultProxy(dot.issuer) as proxy:
        base: dict[str, object] = {
            "issuer": dot.issuer,
            "internal_base_url": proxy.url,
            "client_id": dot.client_id,
            "http_budget_seconds": BUDGET_SECONDS,
            "takeover_margin_seconds": MARGIN_SECONDS,
            "unknown_outcome": GRACE_RULE,
            # Each rotation deletes the access token before it.
            "single_access_token": True,
            "scopes": SCOPES,
        }
        home.provider("dot", dot.client_secret, **base | said)
        async with open_broker(home.settings(), tend=False) as opened:
            key = GrantKey("dot", f"user-{next(users)}")
            yield Case(dot, proxy, home, opened, key)


async def test_consent_by_the_real_code_flow(dot: DotServer, tmp_path: Path) -> None:
    """Discovery, PKCE, code, verified ID token, provisioned; then used."""
    async with case(dot, tmp_path) as at:
        wired = at.opened.providers["dot"]
        started = await wired.consent.start(
            redirect_uri=REDIRECT_URI, scopes=wired.scopes, resource=None
        )
        assert isinstance(started, ConsentStart)
        query = await asyncio.to_thread(dot.code, started.url)
        grant = await at.opened.finish_consent(CALLER, "dot", started.session, query)
        state = grant.state
        assert state.provisioning.flow == "authorization_code"
        assert state.provisioning.scopes == SCOPES
        key = GrantKey("dot", state.subject)
        first = await at.opened.broker.hand_out(CALLER, TokenRequest(key, SCOPES))
        assert first.source is Source.CACHED, "consent came with an access token"
        await at.opened.broker.rotate(CALLER, key)
        after = await at.opened.broker.hand_out(CALLER, TokenRequest(key, SCOPES))
        assert await at.accepted(after.access_token)


async def test_the_metadata_is_found_at_the_issuer(
    dot: DotServer, tmp_path: Path
) -> None:
    async with case(dot, tmp_path) as at:
        metadata = await at.opened.providers["dot"].discovery.metadata()
        assert not isinstance(metadata, UpstreamFailure)
        assert metadata.issuer == dot.issuer
        assert metadata.token_endpoint == f"{at.proxy.url}/token/"
        assert metadata.revocation_endpoint == f"{at.proxy.url}/revoke_token/"


async def test_a_token_that_is_given_back_costs_no_grant(
    dot: DotServer, tmp_path: Path
) -> None:
    """Asked to end it, this server ends the refresh token, too: it is not asked."""
    async with case(dot, tmp_path) as at:
        await at.provision()
        first = (await at.token()).access_token
        assert await at.opened.broker.give_back(CALLER, first) is GivenBack.LIVES_ON
        assert at.proxy.count(REVOKE) == 0
        second = (await at.token()).access_token
        assert second != first
        assert await at.accepted(second)
        assert not await at.accepted(first), "the rotation ends it here"


async def test_many_callers_are_one_rotation(dot: DotServer, tmp_path: Path) -> None:
    async with case(dot, tmp_path) as at:
        first = await at.provision()
        tokens = await asyncio.gather(*(at.token() for _ in range(16)))
        assert len({t.access_token for t in tokens}) == 1
        assert await at.accepted(tokens[0].access_token)
        (form,) = at.proxy.forms(TOKEN)
        assert form["refresh_token"] == first
        current = await at.current()
        assert current != first
        assert await at.live() == [current]


async def test_each_rotation_presents_the_newest(
    dot: DotServer, tmp_path: Path
) -> None:
    async with case(dot, tmp_path) as at:
        await at.provision()
        for _ in range(3):
            await at.opened.broker.rotate(CALLER, at.key)
            assert await at.live() == [await at.current()]
        sent = [form["refresh_token"] for form in at.proxy.forms(TOKEN)]
        assert len(set(sent)) == 3


async def test_scopes_are_narrowed_for_the_caller(
    dot: DotServer, tmp_path: Path
) -> None:
    said = {"base_scopes": ["openid"], "single_access_token": False}
    async with case(dot, tmp_path, **said) as at:
        await at.provision()
        handed = await at.token(("files.read",))
        assert handed.scopes == ("files.read", "openid")
        assert at.proxy.forms(TOKEN)[0]["scope"] == "files.read openid"


@pytest.mark.parametrize(
    "fault", [Fault.TIMEOUT_AFTER, Fault.RESET_AFTER], ids=lambda f: f.name
)
async def test_a_lost_answer_is_given_again_within_the_grace(
    dot: DotServer, tmp_path: Path, fault: Fault
) -> None:
    # A busy machine's server takes its time too, and is not to be taken for the fault.
    waits = {} if fault is Fault.RESET_AFTER else {"http_budget_seconds": 3.0}
    async with case(dot, tmp_path, **waits) as at:
        first = await at.provision()
        at.proxy.plan(TOKEN, fault)
        handed = await at.token()
        sent = [form["refresh_token"] for form in at.proxy.forms(TOKEN)]
        assert sent == [first, first]
        assert await at.live() == [await at.current()]
        assert await at.accepted(handed.access_token)
        # And it goes on from there, as if nothing had been lost.
        await at.opened.broker.rotate(CALLER, at.key)
        assert await at.live() == [await at.current()]


async def test_without_the_rule_a_lost_answer_is_not_followed_by_another_try(
    dot: DotServer, tmp_path: Path
) -> None:
    async with case(dot, tmp_path, unknown_outcome={"rule": "quarantine"}) as at:
        await at.provision()
        at.proxy.plan(TOKEN, Fault.RESET_AFTER)
        with pytest.raises(ReauthorizationRequired) as refused:
            await at.token()
        assert refused.value.reason is ReauthorizationReason.AMBIGUOUS_OUTCOME
        assert at.proxy.count(TOKEN) == 1
        assert len(await at.live()) == 1, "the family lives, unused"


async def test_a_token_used_behind_our_back_ends_in_consent(
    dot: DotServer, tmp_path: Path
) -> None:
    """Reuse protection: the server ends the family, the grant says so."""
    async with case(dot, tmp_path) as at:
        token = await at.provision()
        form = {"grant_type": "refresh_token", "refresh_token": token}
        auth = (dot.client_id, dot.client_secret)
        async with httpx.AsyncClient(auth=auth) as thief:
            answer = await thief.post(f"{dot.issuer}/token/", data=form)
        assert answer.status_code == 200
        await asyncio.to_thread(dot.age, 3600)
        with pytest.raises(ReauthorizationRequired) as refused:
            await at.token()
        assert refused.value.reason is ReauthorizationReason.REFUSED
        assert await at.live() == []
        grant = await at.opened.broker.status(at.key)
        assert grant is not None
        assert grant.state.status is GrantStatus.REAUTHORIZATION_REQUIRED


async def test_a_revocation_is_confirmed(dot: DotServer, tmp_path: Path) -> None:
    async with case(dot, tmp_path) as at:
        await at.provision()
        handed = await at.token()
        receipt = await at.opened.broker.revoke(CALLER, at.key)
        assert receipt.confirmed
        assert await at.live() == []
        assert not await at.accepted(handed.access_token)
        kinds = [form["token_type_hint"] for form in at.proxy.forms(REVOKE)]
        assert kinds == ["refresh_token", "access_token"]
        assert all("authorization" in r.headers for r in at.proxy.seen(REVOKE))
        with pytest.raises(GrantRevoked):
            await at.token()


async def test_a_new_consent_ends_the_replaced_token(
    dot: DotServer, tmp_path: Path
) -> None:
    async with case(dot, tmp_path) as at:
        await at.provision()
        second = await at.provision()
        await at.opened.broker.tend()
        assert await at.live() == [second]


async def test_it_has_no_token_exchange(dot: DotServer, tmp_path: Path) -> None:
    async with case(dot, tmp_path) as at:
        server = at.opened.providers["dot"].provider.server
        answer = await server.exchange(
            AccessToken("x"),
            scopes=(),
            audience="files",
            resource=None,
            budget_seconds=5,
        )
        assert isinstance(answer, UpstreamFailure)
        assert answer.failure == "unsupported"
        assert Unsupported.code == "unsupported"


async def test_a_wrong_client_secret_is_an_operators_error(
    dot: DotServer, tmp_path: Path
) -> None:
    async with case(dot, tmp_path) as right:
        await right.provision()
        (right.home.path / "dot.secret").write_text("wrong", encoding="utf-8")
        async with open_broker(right.home.settings(), tend=False) as opened:
            with pytest.raises(UpstreamRejected) as refused:
                await opened.broker.hand_out(CALLER, TokenRequest(right.key))
        assert refused.value.error == "invalid_client"
        assert len(await right.live()) == 1
