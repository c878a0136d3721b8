"""A visitor whose rule names a provider or a user sees nothing that is another's."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

from grantledger.domain.audit import AuditFilter
from grantledger.domain.values import GrantKey
from tests.broker.scene import CALLER
from tests.console.scene import Looking, visited

MINE, NOT_MINE = GrantKey("cloud", "alice"), GrantKey("cloud", "canary-carol")
ONE_USER = 'providers = ["cloud"]\nsubjects = ["alice"]'
ONE_PROVIDER = 'providers = ["drive"]'


async def _another(there: Looking) -> str:
    life = there.service.life
    grant = await life.provision(life.scene.consent(key=NOT_MINE))
    await life.broker.revoke(CALLER, NOT_MINE, reason_text="x", settle=False)
    return str(grant.id)


async def test_the_overview_counts_no_grant_of_others(tmp_path: Path) -> None:
    async with visited(tmp_path, ONE_USER) as there:
        await _another(there)
        page = await there.client.get("/console")
        assert page.status_code == 200
        for words in ("Leaves", "Revocations owed", "Root", 'scope="row"'):
            assert words not in page.text
        assert ">0 together" in page.text
        assert "are left out" in page.text


async def test_a_whole_provider_is_counted_and_no_other(tmp_path: Path) -> None:
    async with visited(tmp_path, 'providers = ["cloud"]') as there:
        await _another(there)
        page = (await there.client.get("/console")).text
        assert '<th scope="row">cloud</th>' in page
        assert "Revocations owed" not in page


async def test_a_provider_that_is_not_theirs_is_not_named(tmp_path: Path) -> None:
    async with visited(tmp_path, ONE_PROVIDER) as there:
        await _another(there)
        for path in ("/console", "/console/grants", "/console/trail"):
            page = await there.client.get(path)
            assert page.status_code == 200
            for words in ("cloud", "alice", "canary", "Provisioned"):
                assert words not in page.text, path
        assert (
            "<option>drive</option>" in (await there.client.get("/console/grants")).text
        )


async def test_a_grant_of_others_is_as_if_there_were_none(tmp_path: Path) -> None:
    async with visited(tmp_path, ONE_USER) as there:
        hidden = await there.client.get(f"/console/grants/{await _another(there)}")
        none = await there.client.get(f"/console/grants/{uuid4()}")
        assert hidden.status_code == none.status_code == 403
        assert hidden.text.partition("<main")[2] == none.text.partition("<main")[2]
        mine = await there.service.life.broker.status(MINE)
        assert mine is not None
        assert (await there.client.get(f"/console/grants/{mine.id}")).status_code == 200


async def test_an_event_that_is_theirs_opens_without_the_leaf_of_everybody(
    tmp_path: Path,
) -> None:
    async with visited(tmp_path, ONE_USER) as there:
        await _another(there)
        page = (await there.client.get("/console/trail?provider=cloud")).text
        mine = set(re.findall(r'href="(/console/leaf/[0-9.-]+)"', page))
        assert mine
        for path in mine:
            leaf = await there.client.get(path)
            assert leaf.status_code == 200, path
            for words in ("canary", "Leaf hash", "Verify this leaf", "<pre"):
                assert words not in leaf.text, path
        every = await there.service.life.opened.ledger.audit(AuditFilter())
        for row in every.rows:
            path = f"/console/leaf/{row.at.leaf_index}.{row.at.entry}"
            said = await there.client.get(path)
            assert said.status_code == (200 if row.subject == "alice" else 403), path


async def test_no_form_gives_or_ends_what_is_of_others(tmp_path: Path) -> None:
    async with visited(tmp_path, ONE_USER) as there:
        life = there.service.life
        grant = await life.provision(life.scene.consent(key=NOT_MINE))
        form = {"csrf": "0" * 64, "grant": str(grant.id), "reason": "x", "sure": "yes"}
        for path in ("trace", "revoke", "evidence"):
            said = await there.client.post(f"/console/{path}", data=form)
            assert "canary" not in said.text
            assert "application/zip" not in said.headers["content-type"]
        after = await life.broker.status(NOT_MINE)
        assert after is not None
        assert after.state.status == "active"


async def test_no_row_of_others_is_shown(tmp_path: Path) -> None:
    async with visited(tmp_path, ONE_USER) as there:
        await _another(there)
        for path in (
            "leaf/0",
            "proof/0",
            "trail",
            "export?format=ndjson",
            "export/grants?format=ndjson",
            "export/grants/rows?format=ndjson",
        ):
            said = await there.client.get(f"/console/{path}")
            assert said.status_code in {200, 403}
            assert "canary" not in said.text
            shown = "alice" if path.startswith("export/grants?") else "Provisioned"
            assert (shown in said.text) is (said.status_code == 200)
