"""A server with rotation and a re-issue grace (RFC 9700 section 4.14.2)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.devserver.scene import Start, failure


def test_within_the_grace_the_same_successor_is_given_again(start: Start) -> None:
    scene = start("G", grace_reissue_seconds=10)
    first = scene.grant().refresh_token
    one = scene.refresh(first).json()
    scene.clock.advance(10)
    two = scene.refresh(first).json()
    assert two == one | {"expires_in": 890}
    assert scene.refresh(two["refresh_token"]).status_code == 200
    assert scene.outcomes() == ["rotated", "reissued", "rotated"]


def test_after_the_grace_reuse_revokes_the_family(start: Start) -> None:
    scene = start("G", grace_reissue_seconds=10)
    first = scene.grant().refresh_token
    second = scene.refresh(first).json()["refresh_token"]
    scene.clock.advance(10.5)
    assert failure(scene.refresh(first))[:2] == (400, "invalid_grant")
    assert failure(scene.refresh(second))[:2] == (400, "invalid_grant")


def test_the_grace_is_thirty_seconds_unless_said_otherwise(start: Start) -> None:
    scene = start("G")
    first = scene.grant().refresh_token
    scene.refresh(first)
    scene.clock.advance(30)
    assert scene.refresh(first).status_code == 200
    scene.clock.advance(1)
    assert scene.refresh(first).status_code == 400


def test_nothing_is_given_again_once_consent_is_withdrawn(start: Start) -> None:
    scene = start("G")
    first = scene.grant().refresh_token
    scene.refresh(first)
    scene.server.state.withdraw_consent("alice", scene.client.client_id)
    assert failure(scene.refresh(first))[2] == "Consent has been revoked."


def test_concurrent_refreshes_get_one_and_the_same_successor(start: Start) -> None:
    scene = start("G", token_delay_seconds=0.2)
    first = scene.grant().refresh_token
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(scene.refresh, [first, first]))
    assert len({one.json()["refresh_token"] for one in answers}) == 1


def test_a_grace_setting_means_nothing_to_profile_b(start: Start) -> None:
    scene = start("B", grace_reissue_seconds=10)
    first = scene.grant().refresh_token
    scene.refresh(first)
    assert scene.refresh(first).status_code == 400


def test_discovery_advertises_revocation(start: Start) -> None:
    scene = start("G")
    document = scene.http.get(scene.url("openid-configuration")).json()
    assert document["revocation_endpoint"] == scene.url("revoke")
