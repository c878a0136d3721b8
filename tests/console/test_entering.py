"""Who comes into the console, and who does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from grantledger.adapters.http.bodies import FORM
from grantledger.domain.audit import AuditFilter
from grantledger.domain.values import ActorKind, Outcome
from tests.console.scene import CALLER, LINK, looking, signed_in, visited

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_link_lets_in_once(tmp_path: Path) -> None:
    async with looking(tmp_path, enter=False) as there:
        assert (await there.client.get("/console")).status_code == 401
        said = await there.enter()
        assert (said.status_code, said.headers["location"]) == (303, "/console")
        cookie = said.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert (await there.client.get("/console")).status_code == 200
        there.client.cookies.clear()
        assert (await there.enter()).status_code == 401


async def test_no_other_secret_lets_in(tmp_path: Path) -> None:
    async with looking(tmp_path, enter=False) as there:
        for secret in ("", LINK[:-1], LINK + "x", "\ud800"):
            body = {"secret": secret.encode("utf-8", "replace").decode()}
            said = await there.client.post("/console/enter", data=body)
            assert said.status_code == 401
        assert (await there.enter()).status_code == 303


async def test_who_leaves_is_out_everywhere(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        kept = dict(there.client.cookies)
        csrf = await there.csrf()
        said = await there.client.post("/console/leave", data={"csrf": csrf})
        assert said.status_code == 200
        there.client.cookies.update(kept)
        assert (await there.client.get("/console")).status_code == 401


async def test_a_form_of_another_page_changes_nothing(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        csrf = await there.csrf()
        for headers, sent in (
            ({}, "0" * 64),
            ({"Origin": "https://evil.example"}, csrf),
            ({"Sec-Fetch-Site": "cross-site"}, csrf),
        ):
            said = await there.client.post(
                "/console/leave", data={"csrf": sent}, headers=headers
            )
            assert said.status_code == 403
        assert (await there.client.get("/console")).status_code == 200
        denied = [e for e in there.service.journal() if e["outcome"] == Outcome.DENIED]
        assert {(e["caller"], e["reason"]) for e in denied} == {(CALLER, "csrf")}


async def test_what_is_looked_at_is_recorded_first(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        assert (await there.client.get("/console")).status_code == 200
        entry = there.service.journal()[-1]
        assert (entry["outcome"], entry["caller"]) == (Outcome.AUDIT_READ, CALLER)


PROXIED = {"X-Forwarded-For": "192.0.2.1, 198.51.100.7", "traceparent": TRACE}


@pytest.mark.parametrize(
    ("http", "address"),
    [
        ('[http.proxy]\ntrusted = ["127.0.0.1/32"]', "198.51.100.7"),
        ("", "127.0.0.1"),
    ],
)
async def test_a_visitor_comes_from_where_a_trusted_proxy_says_and_no_other(
    tmp_path: Path, http: str, address: str
) -> None:
    async with looking(tmp_path, http=http) as there:
        said = await there.client.get("/console/grants", headers=PROXIED)
        assert said.status_code == 200
        ledger = there.service.life.opened.ledger
        rows = (await ledger.audit(AuditFilter(caller=CALLER))).rows
        actor = rows[-1].actor
        assert actor is not None
        assert (actor.peer_ip, actor.forwarded_for, actor.traceparent, actor.kind) == (
            address,
            PROXIED["X-Forwarded-For"],
            TRACE,
            ActorKind.ADMIN,
        )


async def test_every_answer_keeps_browsers_to_this_place(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        for path in ("/console", "/console/nowhere", "/console/static/console.css"):
            said = await there.client.get(path)
            policy = said.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert said.headers["x-content-type-options"] == "nosniff"
        assert (await there.client.get("/console/static/../app.py")).status_code == 404
        assert (await there.client.get("/console/static/none.css")).status_code == 404


async def test_what_is_no_form_is_refused_in_words(tmp_path: Path) -> None:
    async with looking(tmp_path) as there:
        for body, kind in ((b"x" * 70_000, FORM), (b"{}", "application/json")):
            for path in ("enter", "leave", "trace"):
                said = await there.client.post(
                    f"/console/{path}", content=body, headers={"Content-Type": kind}
                )
                assert said.status_code == 400, path
                assert "the form" in said.text


async def test_a_session_of_the_link_is_none_where_people_sign_in(
    tmp_path: Path,
) -> None:
    """It may do everything, and the policy is not asked: it stays on its machine."""
    async with visited(tmp_path, "") as there:
        assert (await there.client.get("/console")).status_code == 200
        there.client.cookies.update(signed_in(there.console, local=True))
        assert (await there.client.get("/console")).status_code == 401


async def test_an_ended_session_that_cannot_be_looked_up_shows_nothing(
    tmp_path: Path,
) -> None:
    async with looking(tmp_path) as there:
        there.service.life.scene.home.sql("ALTER TABLE once RENAME TO gone")
        said = await there.client.get("/console/grants")
        assert said.status_code in {500, 503}
        assert "alice" not in said.text
