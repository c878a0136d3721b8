"""What a user may do in the browser after consent, and nobody else for them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from grantledger.adapters.http.browsers import Browsers
from grantledger.adapters.keys.cookies import CookieSealer
from grantledger.domain.values import ActorKind, GrantKey, GrantStatus, RevocationReason
from tests.http.browsing import PUBLIC, Browser, Consents, consents
from tests.http.scene import PROBLEM

REVOKE = "/connect/cloud/alice/revoke"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Consents]:
    async with consents(tmp_path) as made:
        yield made


@pytest.fixture
async def alice(there: Consents) -> Browser:
    browser = await there.browser()
    await browser.connect("alice")
    return browser


async def alices(there: Consents) -> GrantStatus:
    return (await there.service.life.grant()).state.status


async def test_the_browser_is_told_who_it_is_and_how_the_grant_stands(
    alice: Browser,
) -> None:
    said = await alice.session()
    assert said.status_code == 200
    body = said.json()
    assert (body["provider"], body["subject"]) == ("cloud", "alice")
    assert (body["label"], body["status"]) == ("default", "active")
    assert "access-control-allow-origin" not in said.headers


async def test_a_session_is_kept_from_other_sites(there: Consents) -> None:
    page = await (await there.browser()).connect()
    (cookie,) = [c for c in page.headers.get_list("set-cookie") if "session=" in c]
    assert cookie.startswith("__Host-grantledger-session=")
    for word in ("Secure", "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=3600"):
        assert word in cookie
    assert "alice" not in cookie


async def test_a_user_ends_the_own_grant(there: Consents, alice: Browser) -> None:
    said = await alice.post(REVOKE)
    assert said.status_code in {200, 202}
    assert said.json()["status"] == "revoked"
    assert said.json()["confirmed"] is (said.status_code == 200)
    assert await alices(there) is GrantStatus.REVOKED
    events = await there.service.life.events()
    (event,) = [e for e in events if type(e).__name__ == "Revoked"]
    assert event.reason is RevocationReason.USER
    assert event.actor_kind is ActorKind.USER
    assert (await alice.session()).json()["status"] == "revoked"
    again = await alice.post(REVOKE)
    assert again.json()["already"] is True


async def test_a_user_ends_each_of_the_own_labels(
    there: Consents, alice: Browser
) -> None:
    await alice.connect("alice", "?label=phone")
    await alice.connect("alice")
    assert (await alice.post(REVOKE, label="phone")).json()["status"] == "revoked"
    assert await alices(there) is GrantStatus.ACTIVE
    assert (await alice.post(REVOKE, label="nowhere")).status_code == 404


async def test_nobody_without_a_session_ends_anything(
    there: Consents, alice: Browser
) -> None:
    del alice
    stranger = await there.browser()
    for said in (await stranger.post(REVOKE, csrf="x"), await stranger.session()):
        assert said.status_code == 401
        assert said.headers["content-type"] == PROBLEM
    assert await alices(there) is GrantStatus.ACTIVE


@pytest.mark.parametrize(
    "path", ["/connect/cloud/alice/revoke", "/connect/other/bob/revoke"]
)
async def test_another_users_grant_is_not_ended_and_the_try_is_recorded(
    there: Consents, alice: Browser, path: str
) -> None:
    del alice
    bob = await there.browser()
    await bob.connect("bob")
    said = await bob.post(path)
    assert (said.status_code, said.json()["reason"]) == (403, "not_self")
    assert await alices(there) is GrantStatus.ACTIVE
    assert there.denials() == [("connect:browser", "not_self")]


async def test_a_form_of_another_page_is_refused(
    there: Consents, alice: Browser
) -> None:
    wrong: list[tuple[str | None, dict[str, str] | None]] = [
        ("", None),
        ("x" * 64, None),
        (None, {"origin": "https://evil.example"}),
        (None, {"origin": "null"}),
        (None, {"sec-fetch-site": "cross-site"}),
        (None, {"sec-fetch-site": "same-site"}),
    ]
    for csrf, headers in wrong:
        for path in (REVOKE, "/connect/logout"):
            said = await alice.post(path, csrf=csrf, headers=headers)
            assert (said.status_code, said.json()["reason"]) == (403, "csrf")
    assert await alices(there) is GrantStatus.ACTIVE
    assert (await alice.session()).status_code == 200
    assert there.denials()[:2] == [("connect:browser", "csrf")] * 2
    own = {"origin": PUBLIC, "sec-fetch-site": "same-origin"}
    assert (await alice.post(REVOKE, headers=own)).json()["status"] == "revoked"


async def test_after_logging_out_a_kept_cookie_is_worth_nothing(
    there: Consents, alice: Browser
) -> None:
    kept = httpx.Cookies(alice.client.cookies)
    said = await alice.post("/connect/logout")
    assert said.status_code == 204
    assert not alice.cookies("session")
    thief = await there.browser(1)
    thief.client.cookies.update(kept)
    assert (await thief.session()).status_code == 401
    assert (await alice.post("/connect/logout", csrf="x")).status_code == 204


async def test_a_session_is_over_after_an_hour(there: Consents, alice: Browser) -> None:
    there.clock.seconds += 3599
    assert (await alice.session()).status_code == 200
    there.clock.seconds += 2
    kept = {"cookie": "; ".join(f"{n}={v}" for n, v in alice.client.cookies.items())}
    said = await alice.client.get(f"{PUBLIC}/connect/session", headers=kept)
    assert said.status_code == 401


async def test_a_changed_session_is_none(there: Consents, alice: Browser) -> None:
    (name,) = alice.cookies("session")
    value = alice.client.cookies[name]
    alice.client.cookies.clear()
    for wrong in (value[:-8] + "A" * 8, value[:40], ""):
        said = await alice.client.get(
            f"{PUBLIC}/connect/session", headers={"cookie": f"{name}={wrong}"}
        )
        assert said.status_code == 401
    assert await there.service.life.broker.status(GrantKey("cloud", "alice"))


@pytest.mark.parametrize(
    ("public_url", "origin"),
    [
        ("https://Broker.example:443/below", "https://broker.example"),
        ("https://broker.example:8443", "https://broker.example:8443"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
async def test_a_page_of_this_service_is_known_as_browsers_name_it(
    there: Consents, public_url: str, origin: str
) -> None:
    sealer = CookieSealer(there.service.life.opened.ring, os.urandom)
    assert Browsers(sealer, public_url).origin == origin
