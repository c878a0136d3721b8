"""Who would have a consent that is not theirs, and what stops them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.http.browsing import PUBLIC, Consents, consents, query_of

WAITING = "grantledger-consent-"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Consents]:
    async with consents(tmp_path) as made:
        yield made


async def nothing_was_sent(there: Consents, page: httpx.Response) -> None:
    assert page.status_code == 400, page.text
    assert there.token_requests() == 0
    assert await there.service.life.opened.ledger.grants() == []


async def test_an_answer_is_taken_once_whichever_replica_has_it(
    there: Consents,
) -> None:
    """RFC 9700 section 4.7: state is used once; the code is sent once."""
    browsers = [await there.browser(0), await there.browser(1)]
    back = await browsers[0].agree(await browsers[0].start())
    browsers[1].client.cookies.update(browsers[0].client.cookies)
    kept = httpx.Cookies(browsers[0].client.cookies)
    pages = await asyncio.gather(*(one.come_back(back) for one in browsers))
    assert sorted(page.status_code for page in pages) == [200, 400]
    browsers[1].client.cookies.update(kept)
    assert (await browsers[1].come_back(back)).status_code == 400
    assert there.token_requests() == 1


async def test_an_answer_counts_only_in_the_browser_that_set_out(
    there: Consents,
) -> None:
    """RFC 6749 section 10.12: a victim does not finish what an attacker began."""
    attacker, victim = await there.browser(), await there.browser()
    back = await attacker.agree(await attacker.start())
    await victim.start()
    await nothing_was_sent(there, await victim.come_back(back))
    assert len(victim.cookies(WAITING)) == 1, "its own still waits"


async def test_an_answer_that_is_not_whole_sends_nothing(there: Consents) -> None:
    """RFC 9207 section 2.4: another server's answer is not acted on."""
    changes: list[dict[str, str | None]] = [
        {"state": "x" * 43},
        {"state": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"code": ""},
        {"code": None},
    ]
    browser = await there.browser()
    for change in changes:
        back = await browser.agree(await browser.start())
        said = {**query_of(back), **change}
        query = {name: value for name, value in said.items() if value is not None}
        url = httpx.URL(back).copy_with(params=query)
        await nothing_was_sent(there, await browser.come_back(str(url)))


async def test_what_stands_twice_is_not_guessed_at(there: Consents) -> None:
    browser = await there.browser()
    back = await browser.agree(await browser.start())
    await nothing_was_sent(there, await browser.come_back(f"{back}&code=other"))


async def test_a_changed_cookie_is_none(there: Consents) -> None:
    browser = await there.browser()
    back = await browser.agree(await browser.start())
    (name,) = browser.cookies(WAITING)
    value = browser.client.cookies[name]
    for wrong in (value[:-9] + "A" * 9, "", "AAAA" * 30):
        headers = {"cookie": f"{name}={wrong}"}
        browser.client.cookies.clear()
        page = await browser.come_back(back, headers=headers)
        await nothing_was_sent(there, page)


async def test_a_session_does_not_stand_for_a_consent(there: Consents) -> None:
    """What is sealed as one thing does not open as the other."""
    browser = await there.browser()
    await browser.connect()
    session = browser.client.cookies[browser.cookies("session")[0]]
    back = await browser.agree(await browser.start())
    (name,) = browser.cookies(WAITING)
    browser.client.cookies.clear()
    page = await browser.come_back(back, headers={"cookie": f"{name}={session}"})
    assert page.status_code == 400
    assert there.token_requests() == 1


async def test_a_consent_is_over_after_ten_minutes(there: Consents) -> None:
    browser = await there.browser()
    back = await browser.agree(await browser.start())
    there.clock.seconds += 601
    await nothing_was_sent(there, await browser.come_back(back))


async def test_an_answer_is_taken_at_its_own_address_only(there: Consents) -> None:
    browser = await there.browser()
    back = await browser.agree(await browser.start())
    for path in ("other", "cloud%2F", "cloud%2Fcallback", "Cloud", "%63loud%00"):
        url = back.replace("/connect/cloud/", f"/connect/{path}/")
        assert url.startswith(f"{PUBLIC}/connect/{path}/callback?")
        await nothing_was_sent(there, await browser.come_back(url))


async def test_another_providers_answer_is_refused(tmp_path: Path) -> None:
    """Mix-up: the answer to one provider's consent, at another's address."""
    async with consents(tmp_path, mirror="mirror") as there:
        browser = await there.browser()
        back = await browser.agree(await browser.start())
        url = back.replace("/connect/cloud/", "/connect/mirror/")
        await nothing_was_sent(there, await browser.come_back(url))
        assert (await browser.come_back(back)).status_code == 200, "and costs nothing"


async def test_what_a_server_says_is_not_repeated_as_markup(there: Consents) -> None:
    browser = await there.browser()
    started = await browser.start()
    sent = query_of(started.headers["location"])
    params = {
        "state": sent["state"],
        "iss": there.service.life.scene.server.issuer,
        "error": "<script>alert(1)</script>",
        "error_description": "<img src=x>",
    }
    page = await browser.client.get(f"{PUBLIC}/connect/cloud/callback", params=params)
    await nothing_was_sent(there, page)
    assert "<script" not in page.text
    assert "<img" not in page.text
