"""Nextcloud OIDC 2.5.1, row by row; exchange and revocation have files of their own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.devserver.scene import CALLBACK, Scene, Start, failure

USED = "Refresh token has already been used."


def test_an_answer_has_scope_always_and_is_not_stored(start: Start) -> None:
    scene = start()
    response = scene.refresh(scene.grant(("notes:read",)).refresh_token)
    body = response.json()
    assert set(body) == {
        "access_token",
        "token_type",
        "expires_in",
        "refresh_token",
        "refresh_expires_in",
        "scope",
    }
    assert body["scope"] == "notes:read"
    assert response.headers["cache-control"] == "no-store"


def test_an_id_token_comes_with_openid_only(start: Start) -> None:
    scene = start()
    assert "id_token" in scene.refresh(scene.grant(("openid",)).refresh_token).json()
    assert "id_token" not in scene.refresh(scene.grant(("email",)).refresh_token).json()


def test_a_refresh_narrows_the_access_token_only(start: Start) -> None:
    scene = start()
    narrow = scene.refresh(scene.grant().refresh_token, scope="openid email").json()
    assert narrow["scope"] == "openid email"
    wide = scene.refresh(narrow["refresh_token"]).json()
    assert wide["scope"] == "openid profile email offline_access"


def test_excess_scope_is_refused_and_the_token_not_used_up(start: Start) -> None:
    scene = start()
    token = scene.grant().refresh_token
    refused = scene.refresh(token, scope="openid notes:write")
    assert failure(refused)[:2] == (400, "invalid_scope")
    assert scene.refresh(token).status_code == 200
    assert scene.outcomes() == ["invalid_scope", "rotated"]


def test_the_loser_of_a_race_is_told_and_the_family_kept(start: Start) -> None:
    scene = start(token_delay_seconds=0.3)
    first = scene.grant().refresh_token
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(scene.refresh, [first, first]))
    won, lost = sorted(answers, key=lambda one: one.status_code)
    assert won.status_code == 200
    assert failure(lost) == (400, "invalid_grant", USED)
    assert scene.refresh(won.json()["refresh_token"]).status_code == 200
    assert sorted(scene.outcomes()) == ["already_used", "rotated", "rotated"]


def test_reuse_within_five_seconds_keeps_the_family(start: Start) -> None:
    scene = start()
    first = scene.grant().refresh_token
    second = scene.refresh(first).json()["refresh_token"]
    scene.clock.advance(5)
    assert failure(scene.refresh(first)) == (400, "invalid_grant", USED)
    assert scene.refresh(second).status_code == 200


def test_later_reuse_revokes_the_whole_family(start: Start) -> None:
    scene = start()
    grant = scene.grant()
    second = scene.refresh(grant.refresh_token).json()
    scene.clock.advance(5.1)
    assert failure(scene.refresh(grant.refresh_token))[1] == "invalid_grant"
    assert failure(scene.refresh(second["refresh_token"]))[1] == "invalid_grant"
    assert scene.userinfo(second["access_token"]).status_code == 401
    assert scene.outcomes() == ["rotated", "reuse_revoked", "revoked"]
    assert scene.server.state.families[grant.family_id].ended == "reuse"


def test_a_refresh_token_always_comes_back(start: Start) -> None:
    scene = start()
    assert (
        "refresh_token" in scene.refresh(scene.grant(("openid",)).refresh_token).json()
    )


def test_lifetimes_are_exact(start: Start) -> None:
    scene = start(refresh_token_seconds=1000)
    grant = scene.grant()
    scene.clock.advance(899)
    assert scene.userinfo(grant.access_token).status_code == 200
    scene.clock.advance(1)
    assert scene.userinfo(grant.access_token).status_code == 401
    scene.clock.advance(100)
    refused = failure(scene.refresh(grant.refresh_token))
    assert refused == (400, "invalid_grant", "Refresh token is expired.")


def test_an_expired_access_token_at_userinfo_harms_nothing(start: Start) -> None:
    scene = start(refresh_token_seconds=None)
    grant = scene.grant()
    scene.clock.advance(5000)
    assert scene.userinfo(grant.access_token).status_code == 401
    assert scene.refresh(grant.refresh_token).status_code == 200


def test_one_access_token_is_live_per_grant(start: Start) -> None:
    scene = start()
    grant = scene.grant()
    body = scene.refresh(grant.refresh_token).json()
    assert scene.userinfo(grant.access_token).status_code == 401
    assert scene.userinfo(body["access_token"]).status_code == 200
    assert len(scene.server.state.live_access_tokens) == 1


def test_an_unknown_refresh_token_is_an_invalid_grant(start: Start) -> None:
    scene = start()
    assert failure(scene.refresh("nonsense"))[:2] == (400, "invalid_grant")


def test_another_clients_refresh_token_is_an_invalid_grant(start: Start) -> None:
    scene = start()
    token = scene.grant().refresh_token
    scene.client = scene.server.state.register_client()
    assert failure(scene.refresh(token))[:2] == (400, "invalid_grant")
    assert scene.outcomes() == ["wrong_client"]


def test_an_unknown_grant_is_unsupported(start: Start) -> None:
    refused = start().token(grant_type="client_credentials")
    assert failure(refused)[:2] == (400, "unsupported_grant_type")


@pytest.mark.parametrize("grant_type", ["", "refresh_token"])
def test_a_missing_parameter_is_an_invalid_request(
    start: Start, grant_type: str
) -> None:
    refused = start().token(grant_type=grant_type)
    assert failure(refused)[:2] == (400, "invalid_request")


def test_duplicate_parameters_are_refused(start: Start) -> None:
    scene = start()
    form = {**scene.credentials(), "grant_type": ["refresh_token", "refresh_token"]}
    refused = scene.http.post(scene.url("token"), data=form)
    assert failure(refused)[:2] == (400, "invalid_request")


def test_a_body_that_is_no_form_is_refused(start: Start) -> None:
    scene = start()
    refused = scene.http.post(scene.url("token"), json=scene.credentials())
    assert failure(refused)[:2] == (400, "invalid_request")


def _basic(scene: Scene, secret: str, **form: str) -> httpx.Response:
    body = {"grant_type": "refresh_token", "refresh_token": "x", **form}
    auth = (scene.client.client_id, secret)
    return scene.http.post(scene.url("token"), data=body, auth=auth)


def test_a_bad_client_with_basic_is_challenged(start: Start) -> None:
    scene = start()
    scene.client = scene.server.state.register_client(auth_method="client_secret_basic")
    refused = _basic(scene, "wrong")
    assert failure(refused)[:2] == (401, "invalid_client")
    assert refused.headers["www-authenticate"].startswith("Basic ")


def test_a_bad_client_by_post_gets_400(start: Start) -> None:
    scene = start()
    refused = scene.refresh(scene.grant().refresh_token, client_secret="wrong")
    assert failure(refused)[:2] == (400, "invalid_client")
    assert scene.outcomes() == ["invalid_client"]


@pytest.mark.parametrize("header", ["Basic !!!", "Basic /w==", "Digest x"])
def test_a_broken_authorization_header_is_a_bad_client(
    start: Start, header: str
) -> None:
    scene = start()
    refused = scene.http.post(
        scene.url("token"),
        data={"grant_type": "refresh_token", "refresh_token": "x"},
        headers={"Authorization": header},
    )
    assert failure(refused)[1] == "invalid_client"


def test_the_method_must_match_the_registration(start: Start) -> None:
    scene = start()
    refused = _basic(scene, scene.client.client_secret or "")
    assert failure(refused)[:2] == (401, "invalid_client")


def test_two_methods_at_once_are_an_invalid_request(start: Start) -> None:
    scene = start()
    secret = scene.client.client_secret or ""
    assert failure(_basic(scene, secret, client_secret=secret))[1] == "invalid_request"
    assert failure(_basic(scene, secret, client_id="other"))[1] == "invalid_request"


def test_basic_works_with_characters_that_need_encoding(start: Start) -> None:
    scene = start()
    scene.client = scene.server.state.register_client(
        auth_method="client_secret_basic", client_secret="s:e%c+r t"
    )
    token = scene.grant().refresh_token or ""
    answer = _basic(scene, "s%3Ae%25c%2Br+t", refresh_token=token)
    assert answer.status_code == 200


def test_a_public_client_refreshes_by_its_name_alone(start: Start) -> None:
    scene = start()
    scene.client = scene.server.state.register_client(
        redirect_uris=(CALLBACK,), auth_method="none"
    )
    body = scene.redeem(scene.code()).json()
    assert scene.refresh(body["refresh_token"]).status_code == 200
    refused = scene.refresh(body["refresh_token"], client_secret="invented")
    assert failure(refused)[:2] == (400, "invalid_client")


def test_failures_throttle_the_whole_source_until_reset(start: Start) -> None:
    scene = start(throttle_after_failures=2)
    token = scene.grant().refresh_token
    for _ in range(2):
        scene.refresh(token, client_secret="wrong")
    throttled = scene.refresh(token)
    assert throttled.status_code == 429
    assert throttled.json() == {"message": "Reached maximum delay"}
    scene.server.state.reset_throttle()
    assert scene.refresh(token).status_code == 200


def test_every_token_request_is_on_record_without_its_secrets(start: Start) -> None:
    scene = start()
    token = scene.grant().refresh_token
    scene.refresh(token, scope="openid", resource="https://r.example.org")
    scene.refresh(token, client_secret="wrong")
    first, second = scene.server.state.token_requests
    assert (first.status, first.error, first.scope) == (200, None, "openid")
    assert first.resource == "https://r.example.org"
    assert "refresh_token" in first.parameters
    assert (second.status, second.error) == (400, "invalid_client")
    assert scene.server.state.token_request_counts == {"refresh_token": 2}
    assert (token or "?") not in repr(scene.server.state.token_requests)


def test_an_outage_ends_by_itself(start: Start) -> None:
    scene = start()
    token = scene.grant().refresh_token
    scene.server.state.outage(1, retry_after=7)
    down = scene.refresh(token)
    assert (down.status_code, down.headers["retry-after"]) == (503, "7")
    assert scene.refresh(token).status_code == 200
    scene.server.state.outage(1)
    assert "retry-after" not in scene.refresh(token).headers
