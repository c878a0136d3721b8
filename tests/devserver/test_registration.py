"""Dynamic registration (RFC 7591) and its management (RFC 7592)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.devserver.scene import CALLBACK, Scene, Start, failure

METADATA: dict[str, Any] = {"redirect_uris": [CALLBACK], "client_name": "Example"}


def _register(scene: Scene, **more: object) -> dict[str, Any]:
    response = scene.http.post(scene.url("register"), json=METADATA | more)
    assert response.status_code == 201
    body: dict[str, Any] = response.json()
    return body


def _manage(scene: Scene, method: str, body: dict[str, Any]) -> httpx.Response:
    token = body["registration_access_token"]
    return scene.http.request(
        method,
        body["registration_client_uri"],
        headers={"Authorization": f"Bearer {token}"},
        json=METADATA | {"redirect_uris": [CALLBACK + "&v=2"], "scope": "openid"}
        if method == "PUT"
        else None,
    )


def _adopt(scene: Scene, body: dict[str, Any]) -> None:
    scene.client = scene.server.state.clients[body["client_id"]]


def test_a_registered_client_works_until_it_expires(start: Start) -> None:
    scene = start(client_expire_seconds=100)
    body = _register(scene)
    assert body["client_secret_expires_at"] == body["client_id_issued_at"] + 100
    _adopt(scene, body)
    token = scene.redeem(scene.code()).json()["refresh_token"]
    scene.clock.advance(101)
    assert failure(scene.refresh(token))[:2] == (400, "expired_client")


def test_a_registration_prunes_those_that_have_expired(start: Start) -> None:
    scene = start()
    old = _register(scene)
    _adopt(scene, old)
    token = scene.grant().refresh_token
    scene.clock.advance(3601)
    _register(scene)
    expected = (400, "invalid_client", "Client not found.")
    assert failure(scene.refresh(token)) == expected


def test_a_public_client_gets_no_secret(start: Start) -> None:
    body = _register(start(), token_endpoint_auth_method="none")
    assert "client_secret" not in body
    assert "client_secret_expires_at" not in body


def test_profile_a_registers_a_secret_whatever_is_asked(start: Start) -> None:
    body = _register(start("A"), token_endpoint_auth_method="none")
    assert body["token_endpoint_auth_method"] == "client_secret_post"
    assert body["client_secret"]


@pytest.mark.parametrize(
    ("token_type", "dots"), [("JWT", 2), ("opaque", 0), ("Bearer", 0)]
)
def test_a_client_chooses_its_kind_of_token(
    start: Start, token_type: str, dots: int
) -> None:
    scene = start()
    _adopt(scene, _register(scene, token_type=token_type))
    assert scene.grant().access_token.count(".") == dots


def test_a_registration_can_be_read_changed_and_deleted(start: Start) -> None:
    scene = start()
    body = _register(scene, resource_url="https://r.example.org")
    assert _manage(scene, "GET", body).json() == body
    changed = _manage(scene, "PUT", body).json()
    assert changed["redirect_uris"] == [CALLBACK + "&v=2"]
    assert changed["scope"] == "openid"
    assert changed["client_secret"] == body["client_secret"]
    assert _manage(scene, "DELETE", body).status_code == 204
    assert _manage(scene, "GET", body).status_code == 401


def test_a_wrong_registration_token_opens_nothing(start: Start) -> None:
    scene = start()
    body = _register(scene) | {"registration_access_token": "wrong"}
    refused = _manage(scene, "DELETE", body)
    assert failure(refused)[:2] == (401, "invalid_token")
    fixed = scene.url(f"register/{scene.client.client_id}")
    assert scene.http.get(fixed).status_code == 401


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        (b"{", "invalid_client_metadata"),
        (
            b'{"redirect_uris": ["http://h/"], "token_endpoint_auth_method": "x"}',
            "invalid_client_metadata",
        ),
        (b"{}", "invalid_redirect_uri"),
        (b'{"redirect_uris": ["/relative"]}', "invalid_redirect_uri"),
        (b'{"redirect_uris": ["http://h/#f"]}', "invalid_redirect_uri"),
    ],
)
def test_unusable_metadata_is_refused(
    start: Start, metadata: bytes, error: str
) -> None:
    scene = start()
    refused = scene.http.post(scene.url("register"), content=metadata)
    assert failure(refused)[:2] == (400, error)
