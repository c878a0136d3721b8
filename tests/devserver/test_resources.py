"""Userinfo, introspection and keys: what resource servers see."""

from __future__ import annotations

import jwt

from grantledger.adapters.devserver import User
from tests.devserver.scene import CALLBACK, Scene, Start, failure


def _kids(scene: Scene) -> list[str]:
    keys = scene.http.get(scene.url("jwks")).json()["keys"]
    assert all("d" not in key for key in keys)
    return [key["kid"] for key in keys]


def test_userinfo_tells_what_the_scopes_cover(start: Start) -> None:
    scene = start(users=(User("bob"),))
    names = {"sub": "alice", "preferred_username": "alice"}
    assert scene.userinfo(scene.grant().access_token).json() == names
    grant = scene.server.issue_grant("bob", scene.client.client_id)
    assert scene.userinfo(grant.access_token).json() == {
        "sub": "bob",
        "preferred_username": "bob",
        "name": "bob",
    }


def test_userinfo_tells_name_and_address_of_a_known_user(start: Start) -> None:
    scene = start()
    claims = scene.userinfo(scene.grant().access_token).json()
    assert (claims["name"], claims["email"]) == ("Alice", "alice@example.org")


def test_userinfo_without_token_is_challenged(start: Start) -> None:
    scene = start()
    response = scene.http.get(scene.url("userinfo"))
    assert failure(response)[:2] == (401, "invalid_token")
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_introspection_answers_the_owner_and_the_resource_only(start: Start) -> None:
    scene = start()
    url = "https://files.example.org"
    register = scene.server.state.register_client
    resource, other = register(resource_url=url), register()
    grant = scene.server.issue_grant("alice", scene.client.client_id, resource=url)
    told = scene.introspect(grant.access_token)
    assert told["active"] is True
    assert (told["aud"], told["username"]) == (url, "alice")
    assert scene.introspect(grant.access_token, resource)["active"] is True
    assert scene.introspect(grant.access_token, other) == {"active": False}


def test_introspection_knows_access_tokens_only(start: Start) -> None:
    scene = start()
    assert scene.introspect(scene.grant().refresh_token or "") == {"active": False}


def test_introspection_needs_a_confidential_client(start: Start) -> None:
    scene = start()
    public = scene.server.state.register_client(
        redirect_uris=(CALLBACK,), auth_method="none"
    )
    for client_id in (public.client_id, "nobody", ""):
        form = {"token": "x", "client_id": client_id}
        response = scene.http.post(scene.url("introspect"), data=form)
        assert failure(response)[:2] == (401, "invalid_client")


def test_a_rotated_key_signs_and_the_old_one_stays_published(start: Start) -> None:
    scene = start()
    before = _kids(scene)
    kid = scene.server.rotate_keys()
    assert _kids(scene) == [kid, *before]
    token = scene.server.issue_session_token("alice", scene.client.client_id)
    assert jwt.get_unverified_header(token)["kid"] == kid


def test_an_old_key_can_be_dropped(start: Start) -> None:
    scene = start()
    kid = scene.server.rotate_keys(keep_previous=False)
    assert _kids(scene) == [kid]
