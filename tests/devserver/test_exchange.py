"""Token exchange (RFC 8693) as Nextcloud OIDC 2.5.1 has it."""

from __future__ import annotations

import jwt
import pytest

from tests.devserver.scene import ACCESS_TOKEN, CALLBACK, RESOURCE, Start, failure


def test_a_session_token_is_exchanged_for_an_allowed_resource(start: Start) -> None:
    scene = start()
    scene.client = scene.server.state.register_client(jwt_access_tokens=True)
    subject = scene.server.issue_session_token("alice", scene.client.client_id)
    body = scene.exchange(subject, scope="profile").json()
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert (claims["sub"], claims["aud"]) == ("alice", RESOURCE)
    del body["access_token"]
    assert body == {
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": 900,
        "scope": "profile",
    }


def test_a_child_lives_no_longer_than_its_parent(start: Start) -> None:
    scene = start()
    subject = scene.grant().access_token
    scene.clock.advance(600)
    child = scene.exchange(subject).json()
    assert child["expires_in"] == 300
    scene.clock.advance(300)
    assert scene.userinfo(child["access_token"]).status_code == 401


def test_a_child_dies_when_its_parents_grant_is_refreshed(start: Start) -> None:
    scene = start()
    grant = scene.grant()
    child = scene.exchange(grant.access_token).json()["access_token"]
    assert scene.userinfo(child).status_code == 200
    scene.refresh(grant.refresh_token)
    assert scene.userinfo(child).status_code == 401


def test_a_subject_token_is_invalid_once_its_grant_is_refreshed(start: Start) -> None:
    scene = start()
    grant = scene.grant()
    scene.refresh(grant.refresh_token)
    refused = failure(scene.exchange(grant.access_token))
    assert refused[:2] == (400, "invalid_request")


def test_exchanges_of_one_subject_live_side_by_side(start: Start) -> None:
    scene = start()
    subject = scene.grant().access_token
    children = [scene.exchange(subject).json()["access_token"] for _ in range(2)]
    assert [scene.userinfo(one).status_code for one in children] == [200, 200]
    assert scene.userinfo(subject).status_code == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"audience": "nextcloud"}, "invalid_target"),
        ({"resource": "https://other.example.org"}, "invalid_target"),
        ({"resource": ""}, "invalid_target"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"actor_token_type": ACCESS_TOKEN}, "invalid_request"),
        ({"requested_token_type": "urn:x:refresh"}, "invalid_request"),
        ({"subject_token_type": "urn:x:saml"}, "invalid_request"),
        ({"subject_token_type": ""}, "invalid_request"),
        ({"subject_token": ""}, "invalid_request"),
        ({"subject_token": "nonsense"}, "invalid_request"),
        ({"scope": "openid notes:write"}, "invalid_scope"),
    ],
)
def test_what_the_server_does_not_do_is_refused(
    start: Start, changes: dict[str, str], error: str
) -> None:
    scene = start()
    refused = scene.exchange(**{"subject_token": scene.grant().access_token} | changes)
    assert failure(refused)[:2] == (400, error)


def test_a_public_client_may_not_exchange(start: Start) -> None:
    scene = start()
    scene.client = scene.server.state.register_client(
        redirect_uris=(CALLBACK,), auth_method="none"
    )
    refused = scene.exchange(scene.grant().access_token)
    assert failure(refused)[:2] == (400, "unauthorized_client")


def test_withdrawn_consent_stops_exchanges(start: Start) -> None:
    scene = start()
    subject = scene.grant().access_token
    scene.server.state.withdraw_consent("alice", scene.client.client_id)
    expected = (400, "invalid_grant", "Consent has been revoked.")
    assert failure(scene.exchange(subject)) == expected
