"""`LedgerTokenStorage`: storing, reading, listing, ending, cleaning up."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime

import pytest

from grantledger.domain.errors import InvalidRequest, InvalidScope
from grantledger.domain.values import GrantStatus
from tests.nextcloud.scene import ON_BOTH_STORES, SCOPES, Said, Scene

FACTS: Said = {
    "flow_type": "flow2",
    "token_audience": "nextcloud",
    "provisioning_client_id": "desktop",
    "scopes": SCOPES,
}


@ON_BOTH_STORES
async def test_a_stored_token_reads_back(scene: Scene) -> None:
    async with scene.running() as app:
        before = int(time.time())
        token = scene.refresh_token()
        await app.storage.store_refresh_token(
            "alice", token, expires_at=before + 900, **FACTS
        )
        stored = await app.storage.get_refresh_token("alice")
        assert stored is not None
        provisioned_at = stored["provisioned_at"]
        assert stored == {
            "refresh_token": token,
            "expires_at": before + 900,
            "flow_type": "flow2",
            "token_audience": "nextcloud",
            "provisioned_at": provisioned_at,
            "scopes": list(SCOPES),
        }
        assert isinstance(provisioned_at, int)
        assert before <= provisioned_at <= time.time()


async def test_what_is_not_said_of_a_new_grant_is_the_earlier_default(
    scene: Scene,
) -> None:
    async with scene.running() as app:
        await app.storage.store_refresh_token("alice", "r" * 40)
        stored = await app.storage.get_refresh_token("alice")
        assert stored is not None
        assert stored["flow_type"] == "hybrid"
        assert stored["token_audience"] == "nextcloud"
        assert stored["scopes"] is None
        assert stored["expires_at"] is None


@ON_BOTH_STORES
async def test_reading_a_refresh_token_out_is_recorded(scene: Scene) -> None:
    """No secret leaves unrecorded, and what found nothing is recorded too."""
    async with scene.running() as app:
        await app.consent()
        await app.storage.get_refresh_token("alice")
        assert (await app.events())[-1] == "handed_out refresh_token"
        await app.storage.delete_refresh_token("alice")
        assert await app.storage.get_refresh_token("alice") is None
        assert (await app.events())[-1] == "denied refresh_token"
        assert await app.storage.get_refresh_token("nobody") is None


async def test_a_token_read_out_while_it_changes_is_one_that_was_current(
    scene: Scene,
) -> None:
    async with scene.running() as app:
        await app.consent()
        tokens = [f"successor-{number}" for number in range(40)]
        for token in tokens:
            _, stored = await asyncio.gather(
                app.storage.store_refresh_token("alice", token),
                app.storage.get_refresh_token("alice"),
            )
            assert stored is not None
        stored = await app.storage.get_refresh_token("alice")
        assert stored is not None
        assert stored["refresh_token"] == tokens[-1]


@ON_BOTH_STORES
async def test_no_refresh_token_is_read_out_after_a_revocation(scene: Scene) -> None:
    """Whatever the order, the history has every reading before the end."""
    async with scene.running() as app:
        await app.consent()
        found = await asyncio.gather(
            *(app.storage.get_refresh_token("alice") for _ in range(10)),
            app.storage.delete_refresh_token("alice"),
            *(app.storage.get_refresh_token("alice") for _ in range(10)),
        )
        read = sum(isinstance(one, dict) for one in found)
        events = await app.events()
        before = events[: events.index("revoked grant")]
        assert before.count("handed_out refresh_token") == read
        assert events.count("handed_out refresh_token") == read


@pytest.mark.parametrize("facts", [{}, FACTS])
async def test_a_rotation_leaves_the_facts_of_the_consent(
    scene: Scene, facts: Said
) -> None:
    """Left out or repeated, they stay as they were (F5)."""
    async with scene.running() as app:
        await app.storage.store_refresh_token("alice", scene.refresh_token(), **FACTS)
        before = await app.grant()
        ends = int(time.time()) + 60
        await app.storage.store_refresh_token("alice", "r" * 40, ends, **facts)
        after = await app.grant()
        assert after.provisioning == before.provisioning
        assert after.generation == before.generation == 1
        assert (await app.events())[-1] == "rotated refresh_token"
        stored = await app.storage.get_refresh_token("alice")
        assert stored is not None
        assert stored["refresh_token"] == "r" * 40
        assert stored["expires_at"] == ends
        assert stored["scopes"] == list(SCOPES)


async def test_the_brokers_own_rotation_leaves_them_too(scene: Scene) -> None:
    async with scene.running() as app:
        await app.storage.store_refresh_token("alice", scene.refresh_token(), **FACTS)
        before = await app.grant()
        assert await app.service.refresh_master_token("alice")
        assert (await app.grant()).provisioning == before.provisioning


@pytest.mark.parametrize(
    "changed",
    [
        {"flow_type": "flow1"},
        {"token_audience": "mcp-server"},
        {"provisioning_client_id": "phone"},
        {"scopes": ["openid"]},
    ],
)
async def test_other_facts_are_a_new_consent(scene: Scene, changed: Said) -> None:
    """What is not said of it is taken from the consent before."""
    async with scene.running() as app:
        await app.storage.store_refresh_token("alice", scene.refresh_token(), **FACTS)
        known = (await app.grant()).provisioning
        await app.storage.store_refresh_token("alice", "r" * 40, **changed)
        state = await app.grant()
        assert state.generation == 2
        now = state.provisioning
        differing = {
            name
            for name in ("flow", "audience", "metadata", "scopes")
            if getattr(now, name) != getattr(known, name)
        }
        assert len(differing) == 1
        assert now.provisioned_at > known.provisioned_at


async def test_the_same_token_again_changes_nothing(scene: Scene) -> None:
    async with scene.running() as app:
        token = await app.consent()
        before = await app.events()
        await app.storage.store_refresh_token("alice", token)
        assert await app.events() == before


@ON_BOTH_STORES
async def test_a_token_for_an_ended_grant_is_a_new_consent(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        await app.storage.delete_refresh_token("alice")
        await app.storage.store_refresh_token("alice", scene.refresh_token())
        state = await app.grant()
        assert (state.status, state.generation) == (GrantStatus.ACTIVE, 2)
        # Nothing of the ended consent is taken for granted.
        assert state.provisioning.scopes == ()


async def test_deleting_is_revoking_and_tells_whether_it_was(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        assert await app.storage.delete_refresh_token("alice") is True
        assert await app.storage.delete_refresh_token("alice") is False
        assert await app.storage.delete_refresh_token("nobody") is False
        assert await app.service.get_background_token("alice", ["openid"]) is None
        assert (await app.grant()).status is GrantStatus.REVOKED


@ON_BOTH_STORES
async def test_users_with_a_usable_grant_are_listed(scene: Scene) -> None:
    async with scene.running() as app:
        for user in ("carol", "alice", "bob"):
            await app.consent(user)
        await app.storage.delete_refresh_token("bob")
        assert await app.storage.get_all_user_ids() == ["alice", "carol"]


async def test_cleaning_up_ends_what_has_expired(scene: Scene) -> None:
    """It is its own end in the history, not a revocation (F28)."""
    async with scene.running() as app:
        past, future = time.time() - 1, time.time() + 900
        await app.storage.store_refresh_token("old", "o" * 40, past)
        await app.storage.store_refresh_token("new", "n" * 40, future)
        await app.storage.store_refresh_token("unsaid", "u" * 40)
        assert await app.storage.cleanup_expired_tokens() == 1
        assert await app.storage.cleanup_expired_tokens() == 0
        assert await app.storage.get_all_user_ids() == ["new", "unsaid"]
        assert await app.storage.get_refresh_token("old") is None
        assert "reauthorization_required grant" in await app.events("old")


@ON_BOTH_STORES
async def test_cleaning_up_leaves_a_token_stored_a_moment_before(
    scene: Scene,
) -> None:
    """Deleting by user id took the fresh one along (F11)."""
    users = [f"user-{number}" for number in range(12)]
    async with scene.running() as app:
        for user in users:
            await app.storage.store_refresh_token(user, f"old-{user}", time.time() - 1)
        fresh = time.time() + 900
        await asyncio.gather(
            app.storage.cleanup_expired_tokens(),
            *(app.storage.store_refresh_token(u, f"new-{u}", fresh) for u in users),
            app.storage.cleanup_expired_tokens(),
        )
        assert await app.storage.cleanup_expired_tokens() == 0
        assert await app.storage.get_all_user_ids() == sorted(users)
        for user in users:
            stored = await app.storage.get_refresh_token(user)
            assert stored is not None
            assert stored["refresh_token"] == f"new-{user}"


@ON_BOTH_STORES
async def test_the_audit_log_reads_the_trail(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent("alice")
        await app.consent("bob")
        await app.service.get_background_token("alice", ["openid"])
        await app.service.get_background_token("alice", ["openid"])
        lines = await app.storage.get_audit_logs(user_id="alice")
        assert [line["event"] for line in reversed(lines)] == [
            "provisioned",
            "redemption_intended",
            "rotated",
            "exchanged",
            "handed_out",
            "handed_out",
        ]
        for line in lines:
            assert set(line) == {
                "timestamp",
                "event",
                "user_id",
                "resource",
                "auth_method",
                "hostname",
            }
            assert line["user_id"] == "alice"
            assert line["auth_method"] == "oauth"
            assert line["hostname"]
        everyone = await app.storage.get_audit_logs()
        assert {line["user_id"] for line in everyone} == {"alice", "bob"}
        assert await app.storage.get_audit_logs("nobody") == []


async def test_the_audit_log_is_cut_by_time_and_number(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent("alice")
        await asyncio.sleep(0.02)
        middle = datetime.now(UTC)
        await app.consent("bob")
        later = await app.storage.get_audit_logs(since=middle)
        assert {line["user_id"] for line in later} == {"bob"}
        assert await app.storage.get_audit_logs(since=middle.timestamp()) == later
        assert await app.storage.get_audit_logs(since=time.time() + 60) == []
        newest = await app.storage.get_audit_logs(limit=1)
        assert [line["user_id"] for line in newest] == ["bob"]
        assert await app.storage.get_audit_logs(limit=0) == []
        with pytest.raises(InvalidRequest, match="limit"):
            await app.storage.get_audit_logs(limit=-1)


@pytest.mark.parametrize(
    "expires_at", [math.nan, math.inf, 1e30, True, "soon", -(10.0**18)]
)
async def test_a_time_that_is_none_is_refused(scene: Scene, expires_at: float) -> None:
    async with scene.running() as app:
        with pytest.raises(InvalidRequest) as refused:
            await app.storage.store_refresh_token("alice", "r" * 40, expires_at)
        assert refused.value.field == "expires_at"
        assert await app.storage.get_all_user_ids() == []


async def test_arguments_out_of_bounds_are_refused_by_name(scene: Scene) -> None:
    async with scene.running() as app:
        store = app.storage.store_refresh_token
        for user in ("", "u" * 513, "al\nice"):
            with pytest.raises(InvalidRequest) as refused:
                await store(user, "r" * 40)
            assert refused.value.field == "subject"
        with pytest.raises(InvalidRequest) as refused:
            await store("alice", "")
        assert refused.value.field == "refresh_token"
        with pytest.raises(InvalidScope) as scope:
            await store("alice", "r" * 40, scopes=["two words"])
        assert scope.value.field == "scopes"
        assert await app.storage.get_all_user_ids() == []


async def test_a_naive_time_is_taken_as_utc(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
        past = datetime(2020, 1, 1)  # noqa: DTZ001 - what an application may pass
        assert await app.storage.get_audit_logs(since=past)
