"""The console's pages: what they show, what they leave out, what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from grantledger.domain.values import GrantKey, Outcome
from tests.broker.scene import CALLER
from tests.console.scene import Looking, looking

CRAFTED = '<script>alert("x")</script>"\'&'


async def grant_id(there: Looking) -> str:
    grant = await there.service.life.broker.status(GrantKey("cloud", "alice"))
    assert grant is not None
    return str(grant.id)


async def test_grants_are_found_by_what_is_known_of_them(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        page = (await there.client.get("/console/grants")).text
        assert await grant_id(there) in page
        other = await there.client.get("/console/grants?status=revoked&scope=")
        assert await grant_id(there) not in other.text
        assert "There is no such grant." in other.text


async def test_a_grant_shows_its_life_and_its_past(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        assert (await there.service.post(json={})).status_code == 200
        path = f"/console/grants/{await grant_id(there)}"
        page = (await there.client.get(path)).text
        assert "<svg" in page
        assert "HandedOut" in page
        assert "hmac-sha256:" in page, "the fingerprint, to search for"
        past = (await there.client.get(f"{path}?at=2001-01-01T00:00:00Z")).text
        assert "This is the past" in past
        assert "There was no such grant then." in past


async def test_the_trail_says_whether_it_leaves_something_out(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        whole = (await there.client.get("/console/trail")).text
        assert "Nothing is left out" in whole
        assert "Provisioned" in whole
        part = (await there.client.get("/console/trail?event=Revoked")).text
        assert "filtered answer" in part
        assert "Nothing is on the record" in part


@pytest.mark.parametrize(
    "path",
    [
        "/console/grants?status=nonsense",
        "/console/grants?after=x",
        "/console/grants/x",
        "/console/trail?from=yesterday",
        "/console/trail?after=1",
        "/console/trail?subject=alice",
    ],
)
async def test_what_cannot_be_meant_is_said_on_a_page(
    tmp_path: Path, path: str
) -> None:
    async with looking(tmp_path) as there:
        said = await there.client.get(path)
        assert said.status_code == 400
        assert 'role="alert"' in said.text


async def test_what_others_have_written_is_text_on_every_page(tmp_path: Path) -> None:
    """The server, a user and a caller control these; none of it is markup."""
    async with looking(tmp_path) as there:
        headers = {"User-Agent": CRAFTED, "X-Request-Id": CRAFTED}
        bearer = {"Authorization": f"Bearer {there.service.bearer()}", **headers}
        for reason in (CRAFTED, ""):
            said = await there.service.post(headers=bearer, json={"reason": reason})
            assert said.status_code == 200
        life = there.service.life
        key = GrantKey("cloud", CRAFTED, CRAFTED)
        await life.provision(life.scene.consent(key=key))
        await life.broker.revoke(CALLER, key, reason_text=CRAFTED, ticket=CRAFTED)
        grant = await life.broker.status(key)
        assert grant is not None
        for path in (
            "/console/grants",
            f"/console/grants/{grant.id}",
            "/console/trail",
            f"/console/grants?subject={CRAFTED}&provider=cloud",
            f"/console/trail?event={CRAFTED}",
        ):
            page = (await there.client.get(path)).text
            assert "<script>alert" not in page
            assert "&lt;script&gt;" in page or "Nothing is on the record" in page


async def test_every_page_is_recorded_without_what_it_named(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        before = len(there.service.journal())
        for path in ("/console/grants?subject=canary&provider=cloud", "/console/trail"):
            await there.client.get(path)
        entries = there.service.journal()[before:]
        assert [e["outcome"] for e in entries] == [Outcome.AUDIT_READ] * 2
        assert "canary" not in str(entries)
