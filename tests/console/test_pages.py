"""The console's pages: what they show, what they leave out, what they refuse."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

from grantledger.adapters.console.entering import ENTER
from grantledger.domain.audit import AuditFilter
from grantledger.domain.values import GrantKey, Outcome
from tests.bootstrap.scene import ShiftedClock
from tests.broker.scene import CALLER
from tests.console.scene import CALLER as ENTERED
from tests.console.scene import LINK, Looking, console_at, csrf_of, looking
from tests.contract.stores import PostgresStore
from tests.support.pg_scene import pg_scene

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
        assert 'type="range"' in past, "and one gets back from there"


async def test_what_the_record_says_is_written_as_people_write(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        assert (await there.service.post(json={})).status_code == 200
        ledger = there.service.life.opened.ledger
        (row,) = (await ledger.audit(AuditFilter(event="Exchanged"))).rows
        assert row.facts["scopes_asked"]
        page = (await there.client.get(f"/console/leaf/{row.at.leaf_index}")).text
        assert "<dt>Refresh kept</dt><dd>no</dd>" in page
        assert "(&#39;" not in page
        assert "&#39;," not in page


async def test_an_hour_without_anything_says_so(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        page = (await there.client.get("/console?at=2001-01-01T00:00:00Z")).text
        assert page.count("None in this hour.") == 2
        assert "<svg" not in page


async def test_the_trail_says_whether_it_leaves_something_out(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        whole = (await there.client.get("/console/trail")).text
        assert "Nothing is left out" in whole
        assert "Provisioned" in whole
        part = (await there.client.get("/console/trail?event=Revoked")).text
        assert "filtered answer" in part
        assert "Nothing is on the record" in part


async def test_what_cannot_be_meant_is_said_on_a_page(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        for path in (
            "/console/grants?status=nonsense",
            "/console/grants?after=x",
            "/console/grants/x",
            "/console/trail?from=yesterday",
            "/console/trail?after=1",
            "/console/trail?after=99999999999999999999.0",
            "/console/trail?from=0001-01-01T00:00:00Z",
            "/console?at=0001-01-01T00:00:00Z",
            "/console?at=9999-12-31T23:59:59-14:00",
            "/console?at=2999-01-01T00:00:00Z",
            "/console/leaf/99999999999999999999",
            "/console/leaf/x",
            "/console/proof/99999999999999999999",
            "/console/trail?subject=alice",
        ):
            said = await there.client.get(path)
            assert said.status_code == 400, path
            assert 'role="alert"' in said.text, path


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


async def test_a_page_kept_fresh_is_recorded_once_for_as_long_as_that_says(
    tmp_path: Path,
) -> None:
    clock = ShiftedClock()
    async with looking(tmp_path, clock=clock) as there:

        async def views_after(path: str) -> int:
            assert (await there.client.get(path)).status_code == 200
            entries = there.service.journal()
            return sum(one["outcome"] == Outcome.AUDIT_READ for one in entries)

        assert await views_after("/console?fresh=1") == 1, "nobody had opened it"
        assert await views_after("/console?fresh=1") == 1
        assert await views_after("/console") == 2, "opened is recorded each time"
        assert await views_after("/console?at=2001-01-01T00:00:00Z&fresh=1") == 3
        clock.seconds += 15 * 60
        assert await views_after("/console?fresh=1") == 4
        wanted = AuditFilter(caller=ENTERED)
        rows = (await there.service.life.opened.ledger.audit(wanted)).rows
        assert "kept fresh until 20" in f"{rows[-1].detail} {rows[-1].what}"


async def test_a_page_that_asks_by_itself_is_told_that_its_session_is_over(
    tmp_path: Path,
) -> None:
    clock = ShiftedClock()
    async with looking(tmp_path, clock=clock) as there:
        clock.seconds += 3601
        asked = {"HX-Request": "true"}
        said = await there.client.get("/console?fresh=1", headers=asked)
        assert (said.status_code, said.headers["hx-retarget"]) == (401, "#main")
        assert "alice" not in said.text


async def test_a_page_that_cannot_be_recorded_shows_nothing(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        grant = f"/grants/{await grant_id(there)}"
        exports = ("/export", "/export/grants", "/export/grants/rows")
        paths = ("", "/grants", grant, "/trail", "/leaf/0", "/proof/0", *exports)
        for path in paths:
            assert (await there.client.get(f"/console{path}")).status_code == 200, path
        there.service.life.scene.home.sql(
            "CREATE TRIGGER full BEFORE INSERT ON stored_events"
            " BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        for path in paths:
            shown = await there.client.get(f"/console{path}")
            assert shown.status_code in {500, 503}
            for words in ("alice", "Provisioned", "leaf_hash", "<svg", "Leaves"):
                assert words not in shown.text, path


async def test_the_newest_rows_of_a_grant_are_read_and_no_others(
    tmp_path: Path,
) -> None:
    async with looking(tmp_path) as there:
        for _ in range(3):
            assert (await there.service.post(json={})).status_code == 200
        ledger, grant = there.service.life.opened.ledger, UUID(await grant_id(there))
        await ledger.complete_audit()
        rows = (await ledger.audit(AuditFilter(grant_id=grant))).rows
        assert len(rows) > 3
        before = await ledger.before_newest(grant, None, 2)
        assert before == rows[-3].at
        page = await ledger.audit(AuditFilter(grant_id=grant), after=before)
        assert page.rows == rows[-2:]
        assert await ledger.before_newest(grant, None, len(rows)) is None
        older = await ledger.before_newest(grant, rows[-1].at.leaf_index, 1)
        assert older is not None
        assert older < rows[-2].at


async def test_of_a_long_life_a_trace_reads_the_end_alone(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        broker = there.service.life.broker
        for _ in range(12):
            await broker.rotate(CALLER, GrantKey("cloud", "alice"))
        grant = await broker.status(GrantKey("cloud", "alice"))
        assert grant is not None
        refresh = grant.state.refresh
        assert refresh is not None
        csrf = csrf_of((await there.client.get("/console/trace")).text)
        form = {"fingerprint": refresh.fingerprint, "csrf": csrf}
        for near, code, words in (
            ("", 200, "1 traced, 12 before"),
            ("16", 200, "Read from leaf"),
            ("15", 400, "near is 15"),
            ("many", 400, "near is a whole number"),
        ):
            asked = form | {"near": near}
            page = await there.client.post("/console/trace", data=asked)
            assert page.status_code == code, near
            assert words in page.text
            assert ("Read from leaf" in page.text) is (near == "16")


async def test_the_overview_says_what_it_does_not_count(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        ledger = there.service.life.opened.ledger
        assert "Complete from" not in (await there.client.get("/console")).text
        ledger.counted = 1
        assert "Complete from" in (await there.client.get("/console")).text
        ledger.audited, ledger.brought = 1, 0
        assert (await there.service.post(json={})).status_code == 200
        page = await there.client.get("/console")
        assert page.status_code == 200
        assert "Not all is counted yet" in page.text


async def test_the_overview_is_as_it_was(tmp_path: Path) -> None:
    async with looking(tmp_path) as here:
        opened = here.service.life.opened
        before = opened.clock.now()
        await opened.broker.revoke(CALLER, GrantKey("cloud", "alice"))
        now = (await here.client.get("/console")).text
        assert _status_row(now) == ["0", "0", "0", "1", "0", "1"]
        at = before.isoformat().replace("+00:00", "Z")
        page = await here.client.get("/console", params={"at": at})
        assert "This is the past" in page.text
        assert _status_row(page.text) == ["1", "0", "0", "0", "0", "1"]
        size = await opened.ledger.size_at(before)
        assert (await opened.ledger.published.root(size)).hex() in page.text
        long_ago = await here.client.get("/console?at=2001-01-01T00:00:00Z")
        assert "There was no grant then" in long_ago.text


async def test_what_is_too_long_ago_is_not_guessed(tmp_path: Path) -> None:
    async with looking(tmp_path) as here:
        here.service.life.opened.ledger.since = 0
        page = await here.client.get("/console?at=2001-01-01T00:00:00Z")
        assert page.status_code == 200
        assert "More has changed since then" in page.text
        assert "not told of so long ago" in page.text


def _status_row(page: str) -> list[str]:
    """Return the numbers of the first provider, by status and in all."""
    row = page[page.index('<th scope="row">cloud</th>') :].partition("</tr>")[0]
    return re.findall(r">([0-9]+)<", row)


async def test_pages_stand_over_postgresql_too(tmp_path: Path, dsn: str) -> None:
    store = PostgresStore(dsn).migrated()
    with pg_scene(tmp_path, store) as scene:
        async with scene.open() as life:
            _, client = console_at(life.opened, scene.home.settings())
            grant = await life.grant()
            async with client:
                await client.post(ENTER, data={"secret": LINK})
                for path in (
                    "",
                    "?at=2001-01-01T00:00:00Z",
                    "/grants?provider=cloud&subject=alice",
                    f"/grants/{grant.id}",
                    "/trail?event=Provisioned",
                    "/leaf/0",
                    "/proof/0",
                ):
                    page = await client.get(f"/console{path}")
                    assert page.status_code == 200, path
                csrf = csrf_of((await client.get("/console/trace")).text)
                form = {"grant": str(grant.id), "csrf": csrf}
                traced = await client.post("/console/trace", data=form)
                assert "cloud · alice" in traced.text
                assert "Read from leaf" not in traced.text
