"""The pages over a login that may only read."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.bootstrap.ledgers import readings_of
from grantledger.adapters.console.entering import ENTER
from grantledger.adapters.ledger.access_file import read_accesses
from grantledger.adapters.ledger.postgres.schema import ROLES
from grantledger.adapters.settings import Settings
from grantledger.domain.requests import Caller
from grantledger.domain.values import GrantKey
from tests.console.scene import LINK, console_at, csrf_of
from tests.contract.stores import PostgresStore
from tests.contract.test_postgres_roles import READER, login
from tests.support.pg_scene import PgHome, pg_scene

pytestmark = pytest.mark.anyio


@dataclass
class Reader:
    """A console of a login that may only read, and a browser that has come in."""

    client: httpx.AsyncClient
    opened: OpenBroker
    readings: Path
    grant_id: UUID
    store: PostgresStore
    writing: Settings

    def events(self) -> int:
        ((count,),) = self.store.sql("SELECT count(*) FROM stored_events")
        return int(count)

    async def csrf(self) -> str:
        return csrf_of((await self.client.get("/console/trace")).text)


@asynccontextmanager
async def reading(tmp_path: Path, dsn: str) -> AsyncGenerator[Reader]:
    store = PostgresStore(dsn).migrated()
    store.sql(ROLES.read_text(encoding="utf-8").replace("%", "%%"))
    with pg_scene(tmp_path, store) as scene:
        async with scene.open() as life:
            grant = await life.grant()
            await life.opened.ledger.complete_audit()
        writing = scene.home.settings()
        with login(store, READER) as reader:
            assert isinstance(scene.home, PgHome)
            scene.home.url = reader.conninfo
            settings = scene.home.settings()
            async with open_broker(settings, tend=False, rotate=False) as opened:
                _, client = console_at(opened, settings)
                async with client:
                    await client.post(ENTER, data={"secret": LINK})
                    yield Reader(
                        client, opened, readings_of(settings), grant.id, store, writing
                    )


async def test_every_page_is_shown_and_recorded_on_this_machine(
    tmp_path: Path, dsn: str
) -> None:
    async with reading(tmp_path, dsn) as here:
        before = here.events()
        for path, said in (
            ("", "This login may only read"),
            ("/grants", "alice"),
            (f"/grants/{here.grant_id}", "active"),
            ("/trail", "Provisioned"),
            ("/leaf/0.-1", "Verify this leaf"),
            ("/proof/0", "checkpoint"),
        ):
            page = await here.client.get(f"/console{path}")
            assert page.status_code == 200, (path, page.text)
            assert said in page.text, path
        lines = read_accesses(here.readings.read_bytes())
        assert len(lines) >= 6
        assert {line.caller for line in lines} == {"cli:auditor"}
        assert here.grant_id in {line.grant_id for line in lines}
        assert here.events() == before


async def test_what_cannot_be_recorded_is_not_shown(tmp_path: Path, dsn: str) -> None:
    async with reading(tmp_path, dsn) as here:
        here.readings.mkdir()
        page = await here.client.get(f"/console/grants/{here.grant_id}")
        assert page.status_code == 503
        assert "alice" not in page.text


async def test_nothing_can_be_ended_and_a_trace_says_so(
    tmp_path: Path, dsn: str
) -> None:
    async with reading(tmp_path, dsn) as here:
        form = {"csrf": await here.csrf(), "grant": str(here.grant_id)}
        traced = await here.client.post("/console/trace", data=form)
        assert "cloud · alice" in traced.text
        assert "End this grant" not in traced.text
        wanted = {**form, "reason": "leak", "sure": "yes"}
        page = await here.client.post("/console/revoke", data=wanted)
        assert "may only read" in page.text
        assert (await here.opened.ledger.get(here.grant_id)) is not None


async def test_a_form_of_another_page_is_refused_and_recorded_here(
    tmp_path: Path, dsn: str
) -> None:
    async with reading(tmp_path, dsn) as here:
        form = {"grant": str(here.grant_id), "csrf": "0" * 64}
        assert (await here.client.post("/console/trace", data=form)).status_code == 403
        lines = read_accesses(here.readings.read_bytes())
        assert [line.outcome for line in lines][-1] == "denied"


async def test_evidence_is_made_and_that_is_recorded_here(
    tmp_path: Path, dsn: str
) -> None:
    async with reading(tmp_path, dsn) as here:
        form = {"csrf": await here.csrf(), "grant": str(here.grant_id)}
        made = await here.client.post("/console/evidence", data=form)
        assert made.status_code == 200, made.text
        assert made.headers["content-type"] == "application/zip"
        lines = read_accesses(here.readings.read_bytes())
        assert lines[-1].reason == "evidence"


async def test_who_leaves_is_out(tmp_path: Path, dsn: str) -> None:
    async with reading(tmp_path, dsn) as here:
        kept = here.client.cookies["grantledger-console"]
        left = await here.client.post(
            "/console/leave", data={"csrf": await here.csrf()}
        )
        assert left.status_code == 200
        here.client.cookies.set("grantledger-console", kept)
        again = await here.client.get("/console/grants")
        assert again.status_code == 401


async def test_leaves_without_rows_are_said(tmp_path: Path, dsn: str) -> None:
    async with reading(tmp_path, dsn) as here:
        async with open_broker(here.writing, tend=False, rotate=False) as opened:
            await opened.broker.revoke(Caller("ops"), GrantKey("cloud", "alice"))
        page = await here.client.get("/console/trail")
        assert "have no rows" in page.text
