"""Token revocation (RFC 7009) as Nextcloud OIDC 2.5.1 has it."""

from __future__ import annotations

import httpx
import pytest

from tests.devserver.scene import Scene, Start, failure


def _revoke(scene: Scene, token: str | None, **more: str) -> httpx.Response:
    document = scene.http.get(scene.url("openid-configuration")).json()
    form = {**scene.credentials(), "token": token or "", **more}
    return scene.http.post(document["revocation_endpoint"], data=form)


@pytest.mark.parametrize("which", ["refresh", "used refresh", "access"])
def test_any_token_of_a_family_revokes_all_of_it(start: Start, which: str) -> None:
    scene = start()
    grant = scene.grant()
    body = scene.refresh(grant.refresh_token).json()
    tokens = {
        "refresh": body["refresh_token"],
        "used refresh": grant.refresh_token,
        "access": body["access_token"],
    }
    response = _revoke(scene, tokens[which], token_type_hint="refresh_token")
    assert (response.status_code, response.content) == (200, b"")
    assert scene.refresh(body["refresh_token"]).status_code == 400
    assert scene.userinfo(body["access_token"]).status_code == 401
    assert scene.server.state.families[grant.family_id].ended == "revoked"
    assert scene.server.state.revocation_requests == 1


def test_an_unknown_token_is_as_good_as_revoked(start: Start) -> None:
    response = _revoke(start(), "nonsense")
    assert (response.status_code, response.content) == (200, b"")


def test_another_clients_token_is_refused(start: Start) -> None:
    scene = start()
    grant = scene.grant()
    owner, scene.client = scene.client, scene.server.state.register_client()
    assert failure(_revoke(scene, grant.refresh_token))[:2] == (400, "invalid_grant")
    assert failure(_revoke(scene, grant.access_token))[:2] == (400, "invalid_grant")
    scene.client = owner
    assert scene.refresh(grant.refresh_token).status_code == 200


def test_a_child_is_revoked_alone(start: Start) -> None:
    scene = start()
    subject = scene.grant().access_token
    child = scene.exchange(subject).json()["access_token"]
    assert _revoke(scene, child).status_code == 200
    assert scene.userinfo(child).status_code == 401
    assert scene.userinfo(subject).status_code == 200


def test_the_client_must_authenticate(start: Start) -> None:
    refused = _revoke(start(), "x", client_secret="wrong")
    assert failure(refused)[:2] == (400, "invalid_client")


def test_a_request_without_token_is_invalid(start: Start) -> None:
    assert failure(_revoke(start(), None))[:2] == (400, "invalid_request")


def test_an_outage_of_revocation_spares_the_token_endpoint(start: Start) -> None:
    scene = start()
    token = scene.grant().refresh_token
    scene.server.state.outage(1, endpoint="revocation")
    assert scene.refresh(token).status_code == 200
    assert _revoke(scene, token).status_code == 503
    assert _revoke(scene, token).status_code == 200
