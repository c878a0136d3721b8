"""A registered client is renewed in time, and how its renewal can go wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from grantledger.adapters.bootstrap.worker import Round
from grantledger.domain.errors import (
    ClientExpired,
    LedgerClosed,
    Unavailable,
    UpstreamRejected,
)
from grantledger.domain.values import GrantStatus
from tests.bootstrap.office import (
    LIFE_SECONDS,
    MANAGE,
    OTHER_CALLBACK,
    office,
    provisioned,
    running,
)
from tests.bootstrap.scene import (
    CALLBACK,
    CALLER,
    KEY,
    Home,
    until,
)
from tests.upstream.support import Reply, Seen, reply


async def test_a_client_near_its_end_is_renewed_before_it_is_used(home: Home) -> None:
    """F33; the server gave it another secret, which is the one then sent."""
    async with office() as at:
        async with running(home, at) as opened:
            await provisioned(opened)
            await opened.broker.rotate(CALLER, KEY)
            assert at.updates == 0
            at.clock.seconds = LIFE_SECONDS - 60
            await opened.broker.rotate(CALLER, KEY)
            assert at.updates == 1
            said = at.metadata(MANAGE)
            assert said["client_id"] == "c1"
            assert said["redirect_uris"] == [CALLBACK]
            await opened.broker.rotate(CALLER, KEY)
            assert at.updates == 1
        stored = home.stored()
        assert at.secret.encode() not in stored
        assert b"canary" not in stored
        at.clock.seconds += LIFE_SECONDS - 60
        async with running(home, at) as opened:
            await opened.broker.rotate(CALLER, KEY)
            assert at.updates == 2


async def test_a_client_that_nobody_uses_is_renewed_all_the_same(home: Home) -> None:
    """Its end would be every grant's end, and the poller may be asleep."""
    async with office() as at, running(home, at, tend=True) as opened:
        await provisioned(opened)
        at.clock.seconds = LIFE_SECONDS - 60
        await until(lambda: at.updates == 1)
        at.clock.seconds = LIFE_SECONDS + 60
        assert (await opened.broker.rotate(CALLER, KEY)).state.usable


async def test_many_callers_at_once_renew_once(home: Home) -> None:
    async with office() as at, running(home, at) as opened:
        await provisioned(opened)
        at.clock.seconds = LIFE_SECONDS - 60
        await asyncio.gather(
            *(opened.wiring.current("cloud") for _ in range(8)),
            opened.start_consent("cloud", CALLBACK),
        )
        assert at.updates == 1


async def test_another_process_uses_the_renewed_secret(home: Home) -> None:
    async with (
        office() as at,
        running(home, at) as one,
        running(home, at) as two,
    ):
        await provisioned(one)
        await two.broker.rotate(CALLER, KEY)
        at.clock.seconds = LIFE_SECONDS - 60
        await one.broker.rotate(CALLER, KEY)
        await two.broker.rotate(CALLER, KEY)
        assert at.updates == 1
        assert two.providers["cloud"].config.client_secret is not None
        assert two.providers["cloud"].config.client_secret.reveal() == at.secret


@pytest.mark.parametrize(
    "answer", [reply({}, 503), reply({"error": "invalid_token"}, 401), Reply(404)]
)
async def test_a_renewal_that_fails_is_tried_again_later(
    home: Home, answer: Reply
) -> None:
    """Meanwhile the client serves as long as it lives; the server is not pressed."""
    async with office() as at, running(home, at) as opened:
        await provisioned(opened)
        at.server.on(MANAGE, answer, at.update)
        at.clock.seconds = LIFE_SECONDS - 60
        for _ in range(3):
            assert (await opened.broker.rotate(CALLER, KEY)).state.usable
        assert at.updates == 1
        at.clock.seconds += 20
        await opened.broker.rotate(CALLER, KEY)
        assert at.updates == 2
        at.clock.seconds += LIFE_SECONDS / 2
        await opened.broker.rotate(CALLER, KEY)


async def test_a_client_without_an_end_is_never_renewed(home: Home) -> None:
    """RFC 7591 section 3.2.1: 0 stands for no end."""
    async with office() as at, running(home, at) as opened:
        at.said = {"client_secret_expires_at": 0}
        await provisioned(opened)
        at.clock.seconds = 10 * LIFE_SECONDS
        await opened.broker.rotate(CALLER, KEY)
        assert at.updates == 0


async def test_a_client_of_unknown_birth_is_renewed_two_minutes_early(
    home: Home,
) -> None:
    async with office() as at, running(home, at) as opened:
        at.said = {"client_id_issued_at": None}
        await provisioned(opened)
        at.clock.seconds = LIFE_SECONDS - 130
        await opened.broker.rotate(CALLER, KEY)
        assert at.updates == 0
        at.clock.seconds = LIFE_SECONDS - 110
        await opened.broker.rotate(CALLER, KEY)
        assert at.updates == 1


async def test_a_slow_renewal_does_not_send_the_token_after_its_lease(
    home: Home,
) -> None:
    """Whoever takes the lease over may send it; two would be one too many."""
    async with (
        office() as at,
        running(home, at, http_budget_seconds=0.3) as opened,
    ):
        await provisioned(opened)
        at.clock.seconds = LIFE_SECONDS - 60
        release = asyncio.Event()

        async def slow(seen: Seen) -> Reply:
            await release.wait()
            return await at.update(seen)

        at.server.on(MANAGE, slow)
        async with asyncio.timeout(3):
            with pytest.raises(Unavailable, match="timeout"):
                await opened.broker.rotate(CALLER, KEY)
        assert at.redemptions == 0
        release.set()
        # The renewal itself went on: its answer holds the only word of the secret.
        await opened.wiring.current("cloud")
        grant = await opened.broker.status(KEY)
        assert grant is not None
        assert grant.state.status is GrantStatus.ACTIVE
        assert grant.state.ambiguity is None
        assert at.updates == 1


async def test_a_redemption_in_vain_does_not_end_a_live_client(home: Home) -> None:
    """A bare 401 may come from a gateway; only the server's own word counts."""
    async with office() as at, running(home, at) as opened:
        await provisioned(opened)
        at.server.on("/token", Reply(401), at.token)
        with pytest.raises(UpstreamRejected, match="unauthorized"):
            await opened.broker.rotate(CALLER, KEY)
        await opened.start_consent("cloud", CALLBACK)
        assert at.server.count("/register") == 1


@pytest.mark.parametrize(
    ("offered", "wished", "chosen"),
    [
        (None, None, "client_secret_basic"),
        (None, "client_secret_post", "client_secret_post"),
        (["client_secret_basic", "client_secret_post"], None, "client_secret_post"),
        (["client_secret_basic", "private_key_jwt"], None, "client_secret_basic"),
        (["none"], None, "none"),
        (
            ["client_secret_basic", "client_secret_post"],
            "client_secret_basic",
            "client_secret_basic",
        ),
    ],
)
async def test_a_client_authenticates_as_the_server_takes_it(
    home: Home, offered: list[str] | None, wished: str | None, chosen: str
) -> None:
    """RFC 8414 section 2: nothing listed means HTTP Basic."""
    said: dict[str, Any] = {} if wished is None else {"auth_method": wished}
    async with office() as at, running(home, at, **said) as opened:
        at.server.describe(token_endpoint_auth_methods_supported=offered)
        at.said = {"token_endpoint_auth_method": None}
        if chosen == "none":
            at.said["client_secret"] = None
        await opened.start_consent("cloud", CALLBACK)
        assert at.metadata("/register")["token_endpoint_auth_method"] == chosen
        assert opened.providers["cloud"].config.auth_method == chosen


@pytest.mark.parametrize(
    ("offered", "wished"),
    [
        (["private_key_jwt"], None),
        ([], None),
        (["client_secret_basic"], "client_secret_post"),
    ],
)
async def test_a_server_that_takes_no_method_of_ours_registers_nobody(
    home: Home, offered: list[str], wished: str | None
) -> None:
    said: dict[str, Any] = {} if wished is None else {"auth_method": wished}
    async with office() as at, running(home, at, **said) as opened:
        at.server.describe(token_endpoint_auth_methods_supported=offered)
        with pytest.raises(UpstreamRejected, match="takes clients by"):
            await opened.start_consent("cloud", CALLBACK)
        assert at.server.count("/register") == 0


@pytest.mark.parametrize(
    "said",
    [
        {"client_secret": None},
        {"token_endpoint_auth_method": "private_key_jwt"},
    ],
)
async def test_a_client_that_cannot_authenticate_is_not_kept(
    home: Home, said: dict[str, object]
) -> None:
    async with office() as at, running(home, at) as opened:
        at.said = said
        with pytest.raises(UpstreamRejected, match="cannot authenticate"):
            await opened.start_consent("cloud", CALLBACK)
        assert await opened.ledger.client("cloud") is None


async def test_an_update_that_takes_the_secret_away_is_not_taken_up(
    home: Home,
) -> None:
    async with office() as at, running(home, at) as opened:
        await provisioned(opened)
        at.said = {"token_endpoint_auth_method": "private_key_jwt"}
        with pytest.raises(UpstreamRejected, match="unusable_client"):
            await opened.start_consent("cloud", OTHER_CALLBACK)
        config = opened.providers["cloud"].config
        assert config.auth_method == "client_secret_post"


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"registration_endpoint": None}, UpstreamRejected),
        ({"issuer": "https://other.example"}, UpstreamRejected),
    ],
)
async def test_metadata_without_registration_is_the_operators_business(
    home: Home, metadata: dict[str, object], error: type[Exception]
) -> None:
    async with office() as at, running(home, at) as opened:
        at.server.describe(**metadata)
        with pytest.raises(error, match="registers no client"):
            await opened.start_consent("cloud", CALLBACK)


async def test_a_further_uri_that_is_refused_does_not_orphan_grants(
    home: Home,
) -> None:
    """A second client would leave every grant of the first without one."""
    async with office() as at, running(home, at) as opened:
        await provisioned(opened)
        at.server.on(MANAGE, reply({"error": "invalid_redirect_uri"}, 400), at.update)
        with pytest.raises(UpstreamRejected, match="1 grants depend on it") as caught:
            await opened.start_consent("cloud", OTHER_CALLBACK)
        assert caught.value.error == "invalid_redirect_uri"
        assert CALLBACK in str(caught.value)
        assert at.server.count("/register") == 1
        await opened.broker.rotate(CALLER, KEY)


async def test_a_further_uri_waits_for_a_server_that_is_away(home: Home) -> None:
    async with office() as at, running(home, at) as opened:
        await opened.start_consent("cloud", CALLBACK)
        at.server.on(MANAGE, reply({}, 503), at.update)
        with pytest.raises(Unavailable, match="registration at cloud"):
            await opened.start_consent("cloud", OTHER_CALLBACK)
        await opened.start_consent("cloud", OTHER_CALLBACK)
        assert at.server.count("/register") == 1


async def test_without_grants_another_client_takes_the_further_uri(home: Home) -> None:
    """A server without RFC 7592 gives no token to manage the registration with."""
    async with office() as at, running(home, at) as opened:
        at.said = {"registration_access_token": None}
        await opened.start_consent("cloud", CALLBACK)
        await opened.start_consent("cloud", OTHER_CALLBACK)
        assert at.server.count("/register") == 2
        assert at.metadata("/register")["redirect_uris"] == [OTHER_CALLBACK]


async def test_near_the_end_a_consent_waits_for_no_update(home: Home) -> None:
    """The server is away: the client that lives is used, and renewed later."""
    async with office() as at, running(home, at) as opened:
        await opened.start_consent("cloud", CALLBACK)
        at.clock.seconds = LIFE_SECONDS - 60
        at.server.on(MANAGE, reply({}, 503), reply({"error": "x"}, 400))
        await opened.start_consent("cloud", CALLBACK)
        assert at.server.count("/register") == 1
        await opened.start_consent("cloud", CALLBACK)
        assert at.server.count("/register") == 2


async def test_after_the_end_a_consent_asks_for_no_update(home: Home) -> None:
    async with office() as at, running(home, at) as opened:
        await opened.start_consent("cloud", CALLBACK)
        at.clock.seconds = LIFE_SECONDS
        await opened.start_consent("cloud", CALLBACK)
        assert (at.server.count("/register"), at.updates) == (2, 0)


async def test_exchanges_and_revocations_wait_for_a_live_client_too(
    home: Home,
) -> None:
    async with office() as at, running(home, at) as opened:
        await provisioned(opened)
        at.clock.seconds = LIFE_SECONDS
        receipt = await opened.broker.revoke(CALLER, KEY)
        assert not receipt.confirmed
        assert at.server.count("/revoke") == 0
        with pytest.raises(ClientExpired):
            await opened.wiring.current("cloud")


async def test_no_client_is_renewed_for_a_ledger_that_was_moved(home: Home) -> None:
    """The server may give another secret, and only this process would know it."""
    async with office() as at, running(home, at) as opened:
        await provisioned(opened)
        with closing(sqlite3.connect(home.ledger)) as other:
            other.execute("UPDATE log_head SET closed = 'it was moved'")
            other.commit()
        at.clock.seconds = LIFE_SECONDS - 60
        await opened.wiring.tend()
        with pytest.raises(LedgerClosed):
            await opened.start_consent("cloud", CALLBACK)
        with pytest.raises(LedgerClosed):
            await opened.worker.once(Round())
        assert at.updates == 0
