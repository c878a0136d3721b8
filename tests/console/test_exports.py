"""What a view shows is taken out with that view's own filters, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import re
from html import unescape
from pathlib import Path

from grantledger.adapters.http.streams import MAX_STREAMS
from grantledger.domain.values import GrantKey
from tests.broker.scene import CALLER
from tests.console.scene import Looking, looking, visited

OTHER = GrantKey("cloud", "bob", "=cmd")


async def _two_grants(there: Looking) -> tuple[str, str]:
    life = there.service.life
    alice = await life.broker.status(GrantKey("cloud", "alice"))
    assert alice is not None
    bob = await life.provision(life.scene.consent(key=OTHER))
    await life.broker.revoke(CALLER, OTHER, reason_text="x", settle=False)
    return str(alice.id), str(bob.id)


def _links(page: str) -> dict[str, str]:
    """Return where each export of a page is, by the form's name in its address."""
    found = re.findall(r'href="(/console/export[^"]+)"', page)
    return {re.sub(r"&.*", "", unescape(one)): unescape(one) for one in found}


async def test_the_trail_and_the_list_give_what_they_show(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        _, bob = await _two_grants(there)
        trail = await there.client.get("/console/trail?event=Provisioned&after=0.-1")
        link = _links(trail.text)["/console/export?format=csv"]
        table = csv.DictReader(io.StringIO((await there.client.get(link)).text))
        assert [row["event"] for row in table] == ["Provisioned", "Provisioned"]
        links = _links((await there.client.get("/console/grants?status=revoked")).text)
        plain = await there.client.get(links["/console/export/grants?format=csv"])
        (row,) = csv.DictReader(io.StringIO(plain.text))
        assert (row["subject"], row["status"]) == ("bob", "revoked")
        assert row["label"] == "'=cmd", "no spreadsheet runs it"
        lines = await there.client.get(links["/console/export/grants?format=ndjson"])
        assert [json.loads(one)["subject"] for one in lines.text.splitlines()] == [
            "bob"
        ]
        rows = links["/console/export/grants/rows?format=ndjson"]
        said = (await there.client.get(rows)).text.splitlines()
        assert {json.loads(one)["grant_id"] for one in said} == {bob}
        assert "Revoked" in {json.loads(one)["event"] for one in said}
        ocsf = links["/console/export/grants/rows?format=ocsf"]
        assert len((await there.client.get(ocsf)).text.splitlines()) >= len(said)


async def test_a_grant_gives_its_rows_as_of_the_time_that_it_shows(
    tmp_path: Path,
) -> None:
    async with looking(tmp_path) as there:
        life = there.service.life
        alice = await life.broker.status(GrantKey("cloud", "alice"))
        assert alice is not None
        at = life.opened.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        page = f"/console/grants/{alice.id}?at={at}"
        await life.broker.revoke(CALLER, GrantKey("cloud", "alice"), settle=False)
        shown = (await there.client.get(page)).text
        link = _links(shown)["/console/export?format=ndjson"]
        then = (await there.client.get(link)).text
        assert "Provisioned" in then
        assert "Revoked" not in then
        assert 'name="until"' in shown, "so does its evidence"
        now = (await there.client.get(f"/console/grants/{alice.id}")).text
        link = _links(now)["/console/export?format=ndjson"]
        assert "Revoked" in (await there.client.get(link)).text


async def test_a_trace_gives_the_rows_and_the_evidence_of_its_grant(
    tmp_path: Path,
) -> None:
    async with looking(tmp_path) as there:
        alice, _ = await _two_grants(there)
        form = {"csrf": await there.csrf(), "grant": alice}
        page = (await there.client.post("/console/trace", data=form)).text
        link = _links(page)["/console/export?format=ocsf"]
        assert link.endswith(f"grant={alice}")
        assert 'action="/console/evidence"' in page


async def test_a_view_of_a_user_has_that_users_evidence(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        for path in ("grants", "trail"):
            wanted = "?provider=cloud&subject=alice"
            page = (await there.client.get(f"/console/{path}{wanted}")).text
            form = dict(
                re.findall(
                    r'name="(\w+)" value="([^"]*)"',
                    page.split('action="/console/evidence"')[1].split("</form>")[0],
                )
            )
            assert (form["provider"], form["subject"]) == ("cloud", "alice")
            said = await there.client.post("/console/evidence", data=form)
            assert said.headers["content-type"] == "application/zip", path


async def test_one_export_too_many_is_told_when_to_come_again(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        paths = ("export", "export/grants", "export/grants/rows")
        streams = there.console.streams
        for path in paths * (MAX_STREAMS // 2):
            said = await there.client.get(f"/console/{path}")
            assert said.status_code == 200, "the places are given back"
        for _ in range(MAX_STREAMS):
            streams.take()
        for path in paths:
            said = await there.client.get(f"/console/{path}")
            assert (said.status_code, said.headers["retry-after"]) == (429, "10")
            assert "alice" not in said.text


async def test_who_may_not_take_out_is_offered_nothing(tmp_path: Path) -> None:
    async with visited(tmp_path, "", roles=["responder"]) as there:
        page = await there.client.get("/console/grants")
        assert page.status_code == 200
        assert not _links(page.text)
        for path in ("export", "export/grants", "export/grants/rows"):
            assert (await there.client.get(f"/console/{path}")).status_code == 403
