"""The authorization endpoint, by a scripted user (RFC 6749 section 4.1)."""

from __future__ import annotations

import re

import httpx
import jwt
import pytest

from tests.devserver.scene import (
    CALLBACK,
    CHALLENGE,
    OFFLINE,
    Scene,
    Start,
    failure,
    landed,
)


def _form(page: httpx.Response) -> dict[str, str]:
    assert page.status_code == 200
    return dict(re.findall(r'name="(request|csrf)" value="(\w+)"', page.text))


def _decide(scene: Scene, form: dict[str, str], **changes: str) -> httpx.Response:
    body = {**form, "user": "alice", "decision": "approve", **changes}
    return scene.http.post(scene.url("consent"), data=body)


def test_a_hinted_user_comes_back_with_code_state_and_issuer(start: Start) -> None:
    scene = start()
    response = scene.authorize()
    query = landed(response)
    assert query.pop("code").isalnum()
    assert query == {"tenant": "one", "state": "st&te", "iss": scene.server.issuer}
    assert response.headers["referrer-policy"] == "no-referrer"


def test_the_issuer_follows_the_host_that_was_asked(start: Start) -> None:
    scene = start()
    public = {"Host": "cloud.example.org"}
    url = f"{scene.server.issuer}/.well-known/openid-configuration"
    document = scene.http.get(url, headers=public).json()
    assert document["issuer"] == "http://cloud.example.org"
    assert document["token_endpoint"].startswith("http://cloud.example.org/index.php")


def test_a_redeemed_code_gives_tokens_that_discovery_lets_verify(start: Start) -> None:
    scene = start(jwt_access_tokens=True)
    scene.client = scene.server.state.register_client(redirect_uris=(CALLBACK,))
    body = scene.redeem(scene.code(resource="https://notes.example.org")).json()
    keys = jwt.PyJWKSet.from_dict(scene.http.get(scene.url("jwks")).json())
    unverified = jwt.get_unverified_header(body["access_token"])
    claims = jwt.decode(
        body["access_token"],
        keys[unverified["kid"]].key,
        algorithms=["RS256"],
        audience="https://notes.example.org",
        issuer=scene.server.issuer,
        options={"verify_exp": False, "verify_iat": False},
    )
    named = "iss sub aud exp auth_time iat acr client_id azp preferred_username scope"
    assert set(claims) == {*named.split(), "jti"}
    assert claims["exp"] - claims["iat"] == 900
    assert claims["azp"] == claims["client_id"] == scene.client.client_id
    identity = jwt.decode(body["id_token"], options={"verify_signature": False})
    assert identity["aud"] == scene.client.client_id
    assert identity["nonce"] == "n-1"
    assert identity["email"] == "alice@example.org"


def test_a_code_works_once_and_its_reuse_ends_the_grant(start: Start) -> None:
    scene = start()
    code = scene.code()
    first = scene.redeem(code).json()
    assert failure(scene.redeem(code))[:2] == (400, "invalid_grant")
    assert scene.refresh(first["refresh_token"]).status_code == 400


def test_in_profile_a_the_reuse_of_a_code_leaves_the_grant(start: Start) -> None:
    scene = start("A")
    code = scene.code()
    first = scene.redeem(code).json()
    status, error, text = failure(scene.redeem(code))
    assert (status, error) == (400, "invalid_grant")
    assert text == "Could not find access token for code or refresh_token."
    assert scene.refresh(first["refresh_token"]).status_code == 200


def test_a_code_of_sixty_seconds_is_too_old(start: Start) -> None:
    scene = start()
    code = scene.code()
    scene.clock.advance(60)
    assert failure(scene.redeem(code))[:2] == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"code_verifier": "w" * 43}, "Invalid code_verifier."),
        ({"code_verifier": "short"}, "Invalid code_verifier."),
        ({"redirect_uri": "http://127.0.0.1:9/other"}, "The redirect_uri differs."),
    ],
)
def test_a_code_in_the_wrong_hands_is_used_up(
    start: Start, changes: dict[str, str], expected: str
) -> None:
    scene = start()
    code = scene.code()
    assert failure(scene.redeem(code, **changes)) == (400, "invalid_grant", expected)
    assert scene.redeem(code).status_code == 400


@pytest.mark.parametrize("profile", ["A", "B"])
def test_an_unknown_code_is_an_invalid_grant(start: Start, profile: str) -> None:
    scene = start("A" if profile == "A" else "B")
    assert failure(scene.redeem("nonsense"))[:2] == (400, "invalid_grant")


def test_another_client_cannot_redeem_a_code(start: Start) -> None:
    scene = start()
    code = scene.code()
    scene.client = scene.server.state.register_client(redirect_uris=(CALLBACK,))
    assert failure(scene.redeem(code))[:2] == (400, "invalid_grant")


def test_consent_withdrawn_before_the_code_is_redeemed_counts(start: Start) -> None:
    scene = start()
    code = scene.code()
    scene.server.state.withdraw_consent("alice", scene.client.client_id)
    expected = (400, "invalid_grant", "Consent has been revoked.")
    assert failure(scene.redeem(code)) == expected


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"resource": "not-absolute"}, "invalid_target"),
        ({"resource": "https://[broken"}, "invalid_target"),
        ({"resource": "https://r.example.org/#part"}, "invalid_target"),
        ({"prompt": "none", "login_hint": None}, "login_required"),
    ],
)
def test_an_error_goes_back_by_redirect(
    start: Start, changes: dict[str, str | None], error: str
) -> None:
    scene = start()
    query = landed(scene.authorize(**changes))
    assert query["error"] == error
    assert query["state"] == "st&te"
    assert query["iss"] == scene.server.issuer


def test_an_error_without_state_brings_none_back(start: Start) -> None:
    scene = start()
    assert "state" not in landed(scene.authorize(state=None, response_type="token"))


def test_an_unknown_client_or_address_is_never_redirected_to(start: Start) -> None:
    scene = start()
    for changes in (
        {"client_id": "nobody"},
        {"redirect_uri": CALLBACK + "x"},
        {"redirect_uri": None},
    ):
        response = scene.authorize(**changes)
        assert response.status_code == 400
        assert "location" not in response.headers


def test_an_expired_client_gets_a_page(start: Start) -> None:
    scene = start()
    scene.server.state.expire_client(scene.client.client_id)
    assert scene.authorize().status_code == 400


def test_a_client_gets_no_more_scopes_than_it_is_registered_for(start: Start) -> None:
    scene = start()
    scene.client = scene.server.state.register_client(
        redirect_uris=(CALLBACK,), scopes=("openid", "profile")
    )
    assert scene.redeem(scene.code()).json()["scope"] == "openid profile"
    query = landed(scene.authorize(scope="email"))
    assert query["error"] == "invalid_scope"


def test_a_request_without_scope_gets_the_default(start: Start) -> None:
    scene = start()
    body = scene.redeem(scene.code(scope=None)).json()
    assert body["scope"] == "openid profile email roles"


def test_a_user_can_approve_on_the_page(start: Start) -> None:
    scene = start(auto_consent=False)
    page = scene.authorize()
    assert "Example asks for access" in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    answer = _decide(scene, _form(page))
    assert scene.redeem(landed(answer)["code"]).status_code == 200


def test_a_user_can_deny(start: Start) -> None:
    scene = start(auto_consent=False)
    answer = _decide(scene, _form(scene.authorize()), decision="deny")
    assert landed(answer)["error"] == "access_denied"
    assert scene.server.state.consents == {}


def test_a_user_who_does_not_exist_cannot_approve(start: Start) -> None:
    scene = start()
    page = scene.authorize(login_hint="mallory")
    answer = _decide(scene, _form(page), user="mallory")
    assert landed(answer)["error"] == "access_denied"


def test_the_consent_form_works_once(start: Start) -> None:
    scene = start(auto_consent=False)
    form = _form(scene.authorize())
    assert _decide(scene, form).status_code == 302
    assert _decide(scene, form).status_code == 400


def test_a_consent_form_with_a_wrong_csrf_field_is_refused(start: Start) -> None:
    scene = start(auto_consent=False)
    form = _form(scene.authorize())
    assert _decide(scene, form, csrf="forged").status_code == 400


def test_a_consent_form_from_another_browser_is_refused(start: Start) -> None:
    scene = start(auto_consent=False)
    form = _form(scene.authorize())
    scene.http.cookies.clear()
    assert _decide(scene, form).status_code == 400


def test_a_logged_in_user_is_not_asked_twice(start: Start) -> None:
    scene = start(auto_consent=False)
    _decide(scene, _form(scene.authorize()))
    assert "code" in landed(scene.authorize(login_hint=None, prompt="none"))
    more = scene.authorize(scope="openid notes:write", prompt="none")
    assert landed(more)["error"] == "consent_required"


def test_prompt_consent_asks_again(start: Start) -> None:
    scene = start(auto_consent=False)
    _decide(scene, _form(scene.authorize()))
    assert _form(scene.authorize(prompt="consent")).keys() == {"request", "csrf"}


def test_logging_out_ends_the_session(start: Start) -> None:
    scene = start()
    scene.authorize()
    assert scene.http.get(scene.url("logout")).status_code == 200
    query = landed(scene.authorize(login_hint=None, prompt="none"))
    assert query["error"] == "login_required"


def test_logout_goes_on_to_a_registered_address_only(start: Start) -> None:
    scene = start()
    target = "http://127.0.0.1:9/bye"
    scene.server.state.register_client(post_logout_redirect_uris=(target,))
    form = {"post_logout_redirect_uri": target, "state": "s"}
    response = scene.http.post(scene.url("logout"), data=form)
    assert response.headers["location"] == f"{target}?state=s"
    form["post_logout_redirect_uri"] = "http://127.0.0.1:9/other"
    response = scene.http.post(scene.url("logout"), data=form)
    assert response.status_code == 200


def test_an_authorization_request_may_be_posted(start: Start) -> None:
    scene = start()
    form = {
        "response_type": "code",
        "client_id": scene.client.client_id,
        "redirect_uri": CALLBACK,
        "scope": " ".join(OFFLINE),
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "login_hint": "alice",
    }
    response = scene.http.post(scene.url("authorize"), data=form)
    assert "code" in landed(response)
