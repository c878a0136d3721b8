"""Nextcloud OIDC 2.0.9, row by row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.devserver.scene import (
    EXCHANGE,
    OFFLINE,
    Start,
    failure,
)

NOT_FOUND = "Could not find access token for code or refresh_token."


def test_an_answer_has_no_scope_and_always_an_id_token(start: Start) -> None:
    scene = start("A")
    response = scene.refresh(scene.grant(("offline_access",)).refresh_token)
    body = response.json()
    assert set(body) == {
        "access_token",
        "token_type",
        "expires_in",
        "id_token",
        "refresh_token",
        "refresh_expires_in",
    }
    assert len(body["access_token"]) == 72
    assert len(body["refresh_token"]) == 128
    assert (body["expires_in"], body["refresh_expires_in"]) == (900, 900)
    assert "no-store" not in response.headers.get("cache-control", "")


def test_refresh_expires_in_is_omitted_when_never(start: Start) -> None:
    scene = start("A", refresh_token_seconds=None)
    refresh_token = scene.grant().refresh_token
    scene.clock.advance(10**8)
    body = scene.refresh(refresh_token).json()
    assert "refresh_expires_in" not in body
    assert "refresh_token" in body


def test_the_scope_of_a_refresh_is_ignored(start: Start) -> None:
    scene = start("A")
    response = scene.refresh(scene.grant().refresh_token, scope="everything")
    assert response.status_code == 200
    assert scene.server.state.live_access_tokens[0].scopes == OFFLINE


def test_a_used_token_is_unknown_and_the_family_intact(start: Start) -> None:
    scene = start("A")
    first = scene.grant().refresh_token
    second = scene.refresh(first).json()["refresh_token"]
    scene.clock.advance(60)
    assert failure(scene.refresh(first)) == (400, "invalid_grant", NOT_FOUND)
    assert scene.refresh(second).status_code == 200
    assert scene.outcomes() == ["rotated", "unknown", "rotated"]


def test_of_two_concurrent_refreshes_both_succeed_and_the_last_survives(
    start: Start,
) -> None:
    scene = start("A", token_delay_seconds=0.3)
    first = scene.grant().refresh_token
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(scene.refresh, [first, first]))
    assert [one.status_code for one in answers] == [200, 200]
    successors = [one.json()["refresh_token"] for one in answers]
    assert len(scene.server.state.live_access_tokens) == 1
    statuses = {scene.refresh(one).status_code for one in successors}
    assert statuses == {200, 400}


def test_without_offline_access_the_old_token_dies_for_nothing(start: Start) -> None:
    scene = start("A")
    grant = scene.grant()
    scene.server.state.narrow_grant(grant.family_id, ("openid",))
    body = scene.refresh(grant.refresh_token).json()
    assert "refresh_token" not in body
    assert "refresh_expires_in" not in body
    assert failure(scene.refresh(grant.refresh_token))[2] == NOT_FOUND
    assert scene.server.state.redemptions[0].successor_sha256 is None


def test_a_grant_without_offline_access_starts_without_refresh_token(
    start: Start,
) -> None:
    assert start("A").grant(("openid",)).refresh_token is None


def test_the_refresh_lifetime_slides(start: Start) -> None:
    scene = start("A")
    token = scene.grant().refresh_token
    for _ in range(3):
        scene.clock.advance(800)
        token = scene.refresh(token).json()["refresh_token"]
    scene.clock.advance(900)
    assert failure(scene.refresh(token))[2] == "Refresh token is expired."
    assert scene.outcomes()[-1] == "expired"
    assert failure(scene.refresh(token))[2] == NOT_FOUND


def test_an_opaque_token_lives_twice_as_long_as_announced(start: Start) -> None:
    scene = start("A", refresh_token_seconds=None)
    access = scene.grant().access_token
    scene.clock.advance(1799)
    assert scene.userinfo(access).status_code == 200


def test_a_jwt_lives_as_announced(start: Start) -> None:
    scene = start("A")
    access = scene.grant(as_jwt=True).access_token
    scene.clock.advance(900)
    assert scene.userinfo(access).status_code == 401


def test_an_expired_access_token_at_userinfo_deletes_the_row(start: Start) -> None:
    scene = start("A", refresh_token_seconds=None)
    grant = scene.grant()
    scene.clock.advance(1800)
    assert scene.userinfo(grant.access_token).status_code == 401
    assert failure(scene.refresh(grant.refresh_token))[2] == NOT_FOUND
    assert scene.server.state.families[grant.family_id].ended == "deleted"


def test_a_superseded_access_token_at_userinfo_deletes_nothing(start: Start) -> None:
    scene = start("A")
    grant = scene.grant()
    second = scene.refresh(grant.refresh_token).json()
    assert scene.userinfo(grant.access_token).status_code == 401
    assert scene.refresh(second["refresh_token"]).status_code == 200


@pytest.mark.parametrize("grant_type", [EXCHANGE, "client_credentials"])
def test_an_unknown_grant_is_called_an_invalid_grant(
    start: Start, grant_type: str
) -> None:
    scene = start("A")
    assert failure(scene.token(grant_type=grant_type))[:2] == (400, "invalid_grant")


def test_the_token_is_looked_up_before_the_client(start: Start) -> None:
    scene = start("A")
    grant = scene.grant()
    wrong = {"client_secret": "wrong"}
    assert failure(scene.refresh("nonsense", **wrong))[1] == "invalid_grant"
    refused = failure(scene.refresh(grant.refresh_token, **wrong))
    assert refused == (400, "invalid_client", "Client authentication failed.")
    assert scene.outcomes() == ["unknown", "invalid_client"]
    assert scene.refresh(grant.refresh_token).status_code == 200


def test_wrong_basic_credentials_are_a_plain_400(start: Start) -> None:
    scene = start("A")
    response = scene.http.post(
        scene.url("token"),
        data={
            "grant_type": "refresh_token",
            "refresh_token": scene.grant().refresh_token,
        },
        auth=(scene.client.client_id, "wrong"),
    )
    assert failure(response)[:2] == (400, "invalid_client")
    assert "www-authenticate" not in response.headers


def test_either_secret_method_is_taken(start: Start) -> None:
    scene = start("A")
    response = scene.http.post(
        scene.url("token"),
        data={
            "grant_type": "refresh_token",
            "refresh_token": scene.grant().refresh_token,
        },
        auth=(scene.client.client_id, scene.client.client_secret or ""),
    )
    assert response.status_code == 200


def test_duplicate_parameters_are_accepted_and_the_last_counts(start: Start) -> None:
    scene = start("A")
    response = scene.http.post(
        scene.url("token"),
        data={
            **scene.credentials(),
            "grant_type": "refresh_token",
            "refresh_token": ["nonsense", scene.grant().refresh_token],
        },
    )
    assert response.status_code == 200


def test_a_json_body_is_accepted(start: Start) -> None:
    scene = start("A")
    body = {
        **scene.credentials(),
        "grant_type": "refresh_token",
        "refresh_token": scene.grant().refresh_token,
    }
    assert scene.http.post(scene.url("token"), json=body).status_code == 200


def test_a_broken_json_body_has_no_parameters(start: Start) -> None:
    scene = start("A")
    headers = {"Content-Type": "application/json"}
    response = scene.http.post(scene.url("token"), content=b"{", headers=headers)
    assert failure(response)[:2] == (400, "invalid_grant")


def test_there_is_no_revocation(start: Start) -> None:
    scene = start("A")
    document = scene.http.get(scene.url("openid-configuration")).json()
    assert "revocation_endpoint" not in document
    assert document["grant_types_supported"] == ["authorization_code", "refresh_token"]
    assert "none" not in document["token_endpoint_auth_methods_supported"]
    revoked = scene.http.post(scene.url("revoke"), data={"token": "x"})
    assert revoked.status_code == 404


def test_there_are_no_public_clients(start: Start) -> None:
    scene = start("A")
    with pytest.raises(ValueError, match="profile A"):
        scene.server.state.register_client(auth_method="none")


def test_the_source_is_not_throttled(start: Start) -> None:
    scene = start("A", throttle_after_failures=1)
    token = scene.grant().refresh_token
    for _ in range(3):
        assert scene.refresh(token, client_secret="wrong").status_code == 400


@pytest.mark.parametrize("profile", ["A", "B"])
def test_an_expired_client_and_then_a_pruned_one(start: Start, profile: str) -> None:
    scene = start("A" if profile == "A" else "B")
    token = scene.grant().refresh_token
    scene.server.state.expire_client(scene.client.client_id)
    assert failure(scene.refresh(token)) == (400, "expired_client", "Client expired.")
    scene.server.state.prune_client(scene.client.client_id)
    expected = (400, "invalid_client", "Client not found.")
    assert failure(scene.refresh(token)) == expected


@pytest.mark.parametrize("profile", ["A", "B"])
def test_withdrawn_consent_is_an_invalid_grant_until_given_again(
    start: Start, profile: str
) -> None:
    scene = start("A" if profile == "A" else "B")
    token = scene.grant().refresh_token
    scene.server.state.withdraw_consent("alice", scene.client.client_id)
    expected = (400, "invalid_grant", "Consent has been revoked.")
    assert failure(scene.refresh(token)) == expected
    assert scene.outcomes() == ["consent_withdrawn"]
    scene.authorize()
    assert scene.refresh(token).status_code == 200
