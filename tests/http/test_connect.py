"""`/connect/{provider}`: consent in the browser, stored as a grant."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grantledger.adapters.devserver import Profile
from grantledger.domain.values import ActorKind, GrantKey, GrantStatus
from tests.http.browsing import (
    CALLBACK,
    PUBLIC,
    RETURN,
    Consents,
    consents,
    query_of,
)

WAITING, SESSION = "grantledger-consent-", "grantledger-session"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Consents]:
    async with consents(tmp_path) as made:
        yield made


@pytest.mark.parametrize("profile", ["A", "B"])
async def test_a_user_consents_and_is_told_so(tmp_path: Path, profile: Profile) -> None:
    async with consents(tmp_path, profile) as there:
        browser = await there.browser()
        started = await browser.start()
        sent = query_of(started.headers["location"])
        assert sent["redirect_uri"] == CALLBACK
        assert (sent["code_challenge_method"], sent["prompt"]) == ("S256", "consent")
        assert len(sent["state"]) >= 43
        assert len(sent["nonce"]) >= 43
        back = await browser.agree(started)
        page = await browser.come_back(back)
        assert page.status_code == 200
        assert "cloud is connected for alice" in page.text
        grant = await there.service.life.grant()
        assert grant.state.status is GrantStatus.ACTIVE
        assert grant.state.subject == "alice"
        (event, *_) = await there.service.life.events()
        assert (event.actor_kind, event.by.id) == (
            ActorKind.USER,
            "connect:browser",
        )
        assert not browser.cookies(WAITING), "what was used is gone"
        assert browser.cookies(SESSION)


async def test_what_the_browser_keeps_is_bound_to_this_service_and_sealed(
    there: Consents,
) -> None:
    started = await (await there.browser()).start()
    (cookie,) = started.headers.get_list("set-cookie")
    name, _, rest = cookie.partition("=")
    value, *attributes = rest.split("; ")
    assert name.startswith(f"__Host-{WAITING}")
    assert set(attributes) == {
        "Path=/",
        "Max-Age=600",
        "HttpOnly",
        "SameSite=Lax",
        "Secure",
    }
    sent = query_of(started.headers["location"])
    for secret in (sent["state"], sent["nonce"], "alice", "cloud"):
        assert secret not in name + value


async def test_a_page_runs_nothing_and_tells_nobody_where_it_was(
    there: Consents,
) -> None:
    browser = await there.browser()
    started = await browser.start()
    page = await browser.come_back(await browser.agree(started))
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for said in (started, page):
        assert said.headers["referrer-policy"] == "no-referrer"
        assert said.headers["cache-control"] == "no-store"
        policy = said.headers["content-security-policy"]
        for word in ("default-src", "form-action", "base-uri", "frame-ancestors"):
            assert f"{word} 'none'" in policy
    assert "<script" not in page.text
    assert "href" not in page.text


async def test_any_replica_finishes_what_another_started(there: Consents) -> None:
    one, two = await there.browser(0), await there.browser(1)
    back = await one.agree(await one.start())
    two.client.cookies.update(one.client.cookies)
    assert (await two.come_back(back)).status_code == 200


async def test_two_tabs_do_not_disturb_each_other(there: Consents) -> None:
    browser = await there.browser()
    first = await browser.start("?label=one")
    second = await browser.start("?label=two")
    assert len(browser.cookies(WAITING)) == 2
    for started in (first, second):
        assert (
            await browser.come_back(await browser.agree(started))
        ).status_code == 200
    for label in ("one", "two"):
        key = GrantKey("cloud", "alice", label)
        assert await there.service.life.broker.status(key) is not None


async def test_a_browser_keeps_no_more_than_so_many_consents(there: Consents) -> None:
    browser = await there.browser()
    first, *_ = [await browser.start() for _ in range(10)]
    kept = browser.cookies(WAITING)
    assert 5 <= len(kept) <= 8
    assert sum(len(browser.client.cookies[name]) for name in kept) <= 6000
    page = await browser.come_back(await browser.agree(first))
    assert page.status_code == 400, "the oldest is given up"


async def test_the_browser_is_returned_where_the_settings_let_it(
    there: Consents,
) -> None:
    browser = await there.browser()
    back = await browser.connect(query=f"?return_to={RETURN.replace('?', '%3F')}")
    assert (back.status_code, back.headers["location"]) == (303, RETURN)
    assert "code" not in back.headers["location"]


async def test_it_is_returned_nowhere_else(there: Consents) -> None:
    """RFC 9700 section 4.11: no open redirector."""
    browser = await there.browser()
    for url in (
        "https://evil.example/",
        f"{RETURN}&x=1",
        RETURN.upper(),
        f"{RETURN}/../",
        "//app.example/done",
        "javascript:alert(1)",
        "",
    ):
        said = await browser.client.get(
            f"{PUBLIC}/connect/cloud", params={"return_to": url}
        )
        assert said.status_code == 400, url
        assert "location" not in said.headers
    assert not browser.cookies(WAITING)


async def test_what_is_no_start_starts_nothing(there: Consents) -> None:
    browser = await there.browser()
    for path, status in (
        ("/connect/nobody", 404),
        ("/connect/cloud?label=", 400),
        (f"/connect/cloud?label={'x' * 129}", 400),
        ("/connect/cloud?label=a&label=b", 400),
        ("/connect/cloud?label=%ff", 400),
        ("/connect/", 404),
        ("/connect/cloud/elsewhere", 404),
        ("/connect/%ff", 404),
        ("/connect/cloud%2Fcallback", 404),
        ("/connect/cloud/callback", 400),
        ("/connect/cloud/callback%2F", 404),
    ):
        said = await browser.client.get(f"{PUBLIC}{path}")
        assert said.status_code == status, path
        assert "text/html" in said.headers["content-type"]
    assert not browser.cookies(WAITING)


async def test_only_a_person_opens_the_start(there: Consents) -> None:
    """No frame, image, script or prefetch: Fetch Metadata tells them apart."""
    browser = await there.browser()
    for headers in (
        {"sec_fetch_dest": "iframe", "sec_fetch_mode": "navigate"},
        {"sec_fetch_dest": "image", "sec_fetch_mode": "no-cors"},
        {"sec_fetch_mode": "cors"},
        {"sec_purpose": "prefetch;prerender"},
    ):
        assert (await browser.start("", **headers)).status_code == 400, headers
    opened = await browser.start(
        sec_fetch_site="cross-site",
        sec_fetch_mode="navigate",
        sec_fetch_dest="document",
    )
    assert opened.status_code == 303, "an application may link to it"
    head = await browser.client.head(f"{PUBLIC}/connect/cloud")
    assert (head.status_code, head.headers.get("set-cookie")) == (404, None)


async def test_a_user_who_refuses_is_told_and_nothing_is_sent(there: Consents) -> None:
    browser = await there.browser()
    page = await browser.come_back(await browser.refuse(await browser.start()))
    assert page.status_code == 400
    assert "Consent was not given" in page.text
    assert there.token_requests() == 0
    assert not browser.cookies(WAITING)
    assert not browser.cookies(SESSION)


async def test_a_server_that_is_down_is_no_fault_of_the_user(there: Consents) -> None:
    browser = await there.browser()
    there.service.life.scene.server.stop()
    page = await browser.start()
    assert page.status_code == 503
    assert int(page.headers["retry-after"]) >= 1
    assert "try again" in page.text


async def test_without_a_public_address_there_is_no_such_page(tmp_path: Path) -> None:
    async with consents(tmp_path, http="") as there:
        assert (await (await there.browser()).start()).status_code == 404


async def test_on_loopback_the_cookies_do_without_tls(tmp_path: Path) -> None:
    public = "http://127.0.0.1:1"
    http = f'public_url = "{public}/"'
    async with consents(tmp_path, http=http, public=public) as there:
        browser = await there.browser()
        started = await browser.start()
        assert "Secure" not in started.headers["set-cookie"]
        assert started.headers["set-cookie"].startswith(WAITING)
        assert (
            await browser.come_back(await browser.agree(started))
        ).status_code == 200


async def test_code_and_state_are_in_no_log(
    there: Consents, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "grantledger")
    browser = await there.browser()
    back = await browser.agree(await browser.start())
    for _ in range(2):
        await browser.come_back(back)
    said = query_of(back)
    for secret in (said["code"], said["state"]):
        assert secret not in caplog.text
