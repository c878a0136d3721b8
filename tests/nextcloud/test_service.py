"""`TokenBrokerService`: None means no usable grant, everything else has its error."""

from __future__ import annotations

import asyncio
import gc

import pytest

from grantledger.domain.errors import (
    ConfigurationError,
    InvalidRequest,
    InvalidScope,
    InvalidSubjectToken,
    InvalidTarget,
    Unavailable,
    Unsupported,
    UpstreamRejected,
)
from grantledger.domain.values import GrantStatus
from tests.nextcloud.conftest import Start
from tests.nextcloud.scene import ON_BOTH_STORES, RESOURCE, SCOPES, Scene


@ON_BOTH_STORES
async def test_many_callers_share_one_refresh(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        tokens = await asyncio.gather(
            *(
                app.service.get_background_token("alice", ["files.read"])
                for _ in "x" * 20
            )
        )
        assert len(set(tokens)) == 1
        assert scene.alive(tokens[0])
        assert scene.redemptions == 1


async def test_two_services_of_one_storage_share_one_refresh(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        other = scene.service(app.storage)
        first, second = await asyncio.gather(
            app.service.get_background_token("alice", ["files.read"]),
            other.get_background_token("alice", ["files.read"]),
        )
        assert first == second
        assert scene.redemptions == 1
        await other.close()
        # The first one goes on.
        assert await app.service.get_background_token("alice", ["files.read"]) == first


@ON_BOTH_STORES
async def test_two_processes_on_one_ledger_share_one_refresh(scene: Scene) -> None:
    """Two storages are to each other as two processes are."""
    async with scene.running() as app, scene.running() as other:
        await app.consent()
        first, second = await asyncio.gather(
            app.service.get_background_token("alice", ["files.read"]),
            other.service.get_background_token("alice", ["files.read"]),
        )
        assert first == second
        assert scene.redemptions == 1


async def test_no_consent_is_none_and_sends_nothing(scene: Scene) -> None:
    async with scene.running() as app:
        assert await app.service.get_background_token("bob", ["openid"]) is None
        assert await app.service.refresh_master_token("bob") is False
        assert await app.service.has_nextcloud_provisioning("bob") is False
        assert scene.redemptions == 0


async def test_withdrawn_consent_is_none(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        scene.server.state.withdraw_consent("alice", scene.client.client_id)
        assert await app.service.get_background_token("alice", ["openid"]) is None
        assert await app.service.has_nextcloud_provisioning("alice") is False
        assert await app.service.refresh_master_token("alice") is False
        assert await app.storage.get_all_user_ids() == []


async def test_a_503_is_no_missing_consent(scene: Scene) -> None:
    """A user must not be sent through consent for an outage (F26)."""
    async with scene.running() as app:
        await app.consent()
        scene.server.state.outage(10, retry_after=1)
        with pytest.raises(Unavailable):
            await app.service.get_background_token("alice", ["openid"])
        with pytest.raises(Unavailable):
            await app.service.refresh_master_token("alice")
        assert await app.service.has_nextcloud_provisioning("alice") is True
        assert await app.storage.get_all_user_ids() == ["alice"]
        scene.server.state.outage(0)
        await asyncio.sleep(1.2)
        token = await app.service.get_background_token("alice", ["openid"])
        assert scene.alive(token)


async def test_a_server_that_is_away_is_no_missing_consent(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        scene.server.stop()
        with pytest.raises(Unavailable):
            await app.service.get_background_token("alice", ["openid"])


async def test_a_wrong_client_secret_is_the_operators_error(scene: Scene) -> None:
    storage = scene.storage()
    service = scene.service(storage, client_secret="not-the-secret")
    await storage.store_refresh_token("alice", scene.refresh_token())
    with pytest.raises(UpstreamRejected) as refused:
        await service.get_background_token("alice", ["openid"])
    assert "not-the-secret" not in repr(refused.value)
    assert await service.has_nextcloud_provisioning("alice") is True
    await service.close()


async def test_a_scope_beyond_the_grant_is_the_callers_error(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        with pytest.raises(InvalidScope):
            await app.service.get_background_token("alice", ["admin"])
        with pytest.raises(InvalidScope):
            await app.service.get_background_token("alice", ["two words"])
        with pytest.raises(InvalidRequest):
            await app.service.get_background_token("", ["openid"])
        assert scene.redemptions == 0


async def test_scopes_that_nobody_recorded_are_asked_for(scene: Scene) -> None:
    async with scene.running() as app:
        await app.storage.store_refresh_token("alice", scene.refresh_token())
        token = await app.service.get_background_token("alice", ["files.read"])
        assert token is not None
        live = scene.server.state.live_access(token)
        assert live is not None
        assert "files.read" in live.scopes


@ON_BOTH_STORES
async def test_a_revocation_ends_every_scope_set(scene: Scene) -> None:
    """No cached token outlives it under another key (F14)."""
    async with scene.running() as app:
        await app.consent()
        asked = (["files.read"], ["notes.read"], ["openid"])
        for scopes in asked:
            assert await app.service.get_background_token("alice", scopes)
        assert await app.service.revoke_nextcloud_access("alice") is True
        for scopes in asked:
            assert await app.service.get_background_token("alice", scopes) is None
        assert scene.server.state.live_access_tokens == []


async def test_a_crafted_user_id_gets_nobody_elses_token(scene: Scene) -> None:
    """The earlier broker's cache key was user, purpose and scopes joined (F30)."""
    async with scene.running() as app:
        await app.consent()
        assert await app.service.get_background_token("alice", ["files.read"])
        for crafted in ("alice:background:files.read", "alice:", "alice files.read"):
            found = await app.service.get_background_token(crafted, ["files.read"])
            assert found is None


async def test_the_deprecated_call_warns_and_gives_the_default_scopes(
    scene: Scene,
) -> None:
    async with scene.running() as app:
        await app.consent()
        with pytest.warns(DeprecationWarning, match="get_background_token") as warned:
            token = await app.service.get_nextcloud_token("alice")
        assert warned[0].filename == __file__
        assert scene.alive(token)


async def test_a_rotation_redeems_now(scene: Scene) -> None:
    async with scene.running() as app:
        first = await app.consent()
        assert await app.service.refresh_master_token("alice") is True
        stored = await app.storage.get_refresh_token("alice")
        assert stored is not None
        assert stored["refresh_token"] != first
        assert scene.redeemed(first)
        # Nothing was dropped: the successor is redeemable (F1).
        assert await app.service.refresh_master_token("alice") is True


async def test_a_session_token_is_exchanged_and_never_kept(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        session = scene.server.issue_session_token("alice", scene.client.client_id)
        first = await app.service.get_session_token(session, ["openid"])
        second = await app.service.get_session_token(
            session, ["openid"], requested_audience="nextcloud"
        )
        assert first is not None
        assert first != second
        live = scene.server.state.live_access(first)
        assert live is not None
        assert (live.audience, live.scopes) == (RESOURCE, ("openid",))
        assert scene.redemptions == 0


async def test_a_session_without_a_grant_is_none(scene: Scene) -> None:
    async with scene.running() as app:
        session = scene.server.issue_session_token("bob", scene.client.client_id)
        assert await app.service.get_session_token(session, ["openid"]) is None


async def test_what_is_wrong_with_an_exchange_is_said(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        session = scene.server.issue_session_token("alice", scene.client.client_id)
        with pytest.raises(InvalidTarget):
            await app.service.get_session_token(session, ["openid"], "elsewhere")
        with pytest.raises(InvalidSubjectToken):
            await app.service.get_session_token("no-jwt", ["openid"])
        with pytest.raises(InvalidScope):
            await app.service.get_session_token(session, ["files.read", "x\ny"])


async def test_a_server_without_exchange_says_so(start: Start) -> None:
    scene = start("A")
    async with scene.running() as app:
        await app.consent()
        session = scene.server.issue_session_token("alice", scene.client.client_id)
        with pytest.raises(Unsupported):
            await app.service.get_session_token(session, ["openid"])


async def test_revoking_is_idempotent(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        assert await app.service.revoke_nextcloud_access("alice") is True
        assert await app.service.revoke_nextcloud_access("alice") is True
        assert await app.service.revoke_nextcloud_access("nobody") is True
        assert (await app.events()).count("revoked grant") == 1


@ON_BOTH_STORES
async def test_a_revocation_holds_while_the_server_cannot_confirm_it(
    scene: Scene,
) -> None:
    """True once it is durable here; the server is asked again until it confirms."""
    async with scene.running() as app:
        await app.consent()
        scene.server.state.outage(1, endpoint="revocation")
        assert await app.service.revoke_nextcloud_access("alice") is True
        assert await app.service.get_background_token("alice", ["openid"]) is None
        for _ in range(200):
            await asyncio.sleep(0.1)
            if "upstream_revocation_confirmed grant" in await app.events():
                break
        assert "upstream_revocation_confirmed grant" in await app.events()
        assert scene.server.state.revocation_requests >= 1


async def test_consent_after_a_revocation_starts_again(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        await app.service.revoke_nextcloud_access("alice")
        await app.consent()
        token = await app.service.get_background_token("alice", ["openid"])
        assert scene.alive(token)


async def test_a_cached_token_ends_with_the_ttl(scene: Scene) -> None:
    storage = scene.storage()
    service = scene.service(storage, cache_ttl=0.3, cache_early_refresh=0)
    await storage.store_refresh_token("alice", scene.refresh_token(), scopes=SCOPES)
    first = await service.get_background_token("alice", ["openid"])
    assert await service.get_background_token("alice", ["openid"]) == first
    await asyncio.sleep(0.35)
    assert await service.get_background_token("alice", ["openid"]) != first
    await service.close()


@ON_BOTH_STORES
async def test_what_was_handed_out_is_there_after_closing(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        await asyncio.gather(
            *(app.service.get_background_token("alice", ["openid"]) for _ in "x" * 50)
        )
        await app.service.close()
        assert (await app.events()).count("handed_out access_token") == 50


@ON_BOTH_STORES
async def test_a_closed_service_opens_again(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        await app.service.close()
        await app.service.close()
        assert await app.service.get_background_token("alice", ["openid"])


async def test_one_storage_serves_one_server(scene: Scene) -> None:
    async with scene.running() as app:
        with pytest.raises(ConfigurationError) as refused:
            scene.service(app.storage, cache_ttl=10)
        assert refused.value.field == "storage"
        # A forgotten service holds nothing.
        await app.service.close()
        del app.service
        gc.collect()
        app.service = scene.service(app.storage, cache_ttl=10)
        assert await app.service.has_nextcloud_provisioning("alice") is False


@ON_BOTH_STORES
def test_a_storage_outlives_its_event_loop(scene: Scene) -> None:
    """Nobody closed it: the loop's end did."""
    storage = scene.storage()
    service = scene.service(storage)
    token = scene.refresh_token()
    asyncio.run(storage.store_refresh_token("alice", token, scopes=SCOPES))
    found = asyncio.run(service.get_background_token("alice", ["openid"]))
    assert scene.alive(found)
    asyncio.run(service.close())


async def test_a_storage_is_open_in_one_event_loop_at_a_time(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()

        def elsewhere() -> str | None:
            return asyncio.run(app.service.get_background_token("alice", ["openid"]))

        with pytest.raises(ConfigurationError, match="event loop"):
            await asyncio.to_thread(elsewhere)


@ON_BOTH_STORES
async def test_a_caller_that_goes_away_costs_nothing(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        task = asyncio.ensure_future(
            app.service.get_background_token("alice", ["openid"])
        )
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        token = await app.service.get_background_token("alice", ["openid"])
        assert scene.alive(token)
        assert (await app.grant()).status is GrantStatus.ACTIVE
