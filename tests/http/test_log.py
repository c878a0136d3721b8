"""The Merkle log over HTTP: who sees it, what is in it, what of that is recorded."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from grantledger.adapters.keys.signing import is_signed
from grantledger.projections.checkpoints import read_note
from grantledger.projections.proofs import MerkleTree
from grantledger.projections.tiles import read_entries, split_hashes
from grantledger.projections.transparency import leaf_hash
from tests.http.scene import HASH, PROBLEM, SECRET, Service, service

READER = ("reader", SECRET)
SCANNER = ("scanner", SECRET)
RULES = f"""
[[http.clients]]
id = "reader"
secret_hash = "{HASH}"

[[callers]]
id = "reader"
roles = ["auditor"]
"""
PUBLIC = f"{RULES}\n[log]\npublic = true\n"
PATHS = ("/log/checkpoint", "/log/tile/0/000.p/1")


@asynccontextmanager
async def published(tmp_path: Path, extra: str = RULES) -> AsyncGenerator[Service]:
    """Yield a service whose log has a few leaves under a published checkpoint."""
    async with service(tmp_path, extra=extra) as here:
        await here.post(json={})
        assert await here.whole.opened.publisher.publish() is not None
        yield here


async def got(here: Service, path: str, **said: str | int) -> httpx.Response:
    return await here.client.get(path, auth=READER, params=said or None)


async def test_a_mirror_proves_what_it_read(tmp_path: Path) -> None:
    async with published(tmp_path) as here:
        said = await got(here, "/log/checkpoint")
        assert said.headers["content-type"] == "text/plain; charset=utf-8"
        note = read_note(said.content)
        size = note.checkpoint.size
        (key,) = here.whole.opened.guard.public_keys()
        assert is_signed(key, note.signed, note.signatures[0].signature)
        tile = await got(here, f"/log/tile/0/000.p/{size}")
        assert tile.headers["content-type"] == "application/octet-stream"
        hashes = split_hashes(tile.content)
        assert MerkleTree(hashes).root() == note.checkpoint.root
        bundle = await got(here, f"/log/tile/entries/000.p/{size}")
        entries = read_entries(bundle.content)
        assert [leaf_hash(entry) for entry in entries] == hashes
        lines = (await got(here, "/log/entries", **{"from": 1})).text.splitlines()
        read = [json.loads(line) for line in lines]
        assert [line["index"] for line in read] == list(range(1, size))
        assert [base64.b64decode(line["leaf"]) for line in read] == list(entries[1:])
        one = await got(here, "/log/entries", **{"from": 1, "limit": 1})
        assert one.text.splitlines() == lines[:1]


async def test_reading_entries_is_recorded_and_hashes_are_not(tmp_path: Path) -> None:
    async with published(tmp_path) as here:
        await got(here, "/log/checkpoint")
        await got(here, "/log/tile/0/000.p/1")
        assert reads(here) == []
        await got(here, "/log/tile/entries/000.p/1")
        await got(here, "/log/entries")
        assert reads(here) == [("reader", "log_entries")] * 2


def reads(here: Service) -> list[tuple[str, str]]:
    entries = here.journal()
    return [(e["caller"], e["reason"]) for e in entries if e["outcome"] == "audit_read"]


async def test_beyond_the_newest_checkpoint_there_is_nothing(tmp_path: Path) -> None:
    """Although the log has more leaves by now: nobody could prove them."""
    async with published(tmp_path) as here:
        size = here.whole.opened.publisher.published
        await here.post(json={})
        for name in (f"0/000.p/{size + 1}", "0/000", "1/000.p/1", "entries/001.p/1"):
            said = await got(here, f"/log/tile/{name}")
            assert (said.status_code, said.headers["content-type"]) == (404, PROBLEM)
        before = reads(here)
        said = await got(here, "/log/entries", **{"from": size})
        assert (said.status_code, said.content) == (200, b"")
        assert reads(here) == before


async def test_what_is_no_tile_and_no_number_is_refused(tmp_path: Path) -> None:
    async with published(tmp_path) as here:
        for name in ("x", "0/0", "0/000.p/256", "", "0/../0/000"):
            assert (await got(here, f"/log/tile/{name}")).status_code == 404
        for field, value in (
            ("from", "-1"),
            ("from", "x"),
            ("limit", 0),
            ("limit", 1001),
        ):
            said = await got(here, "/log/entries", **{field: value})
            assert (said.status_code, said.json()["field"]) == (400, field)


async def test_before_the_first_checkpoint_nothing_is_given(tmp_path: Path) -> None:
    async with service(tmp_path, extra=f"{RULES}\n[log]\npublish = false\n") as here:
        assert (await got(here, "/log/checkpoint")).status_code == 404


async def test_nobody_reads_the_log_without_leave(tmp_path: Path) -> None:
    async with published(tmp_path) as here:
        for path in (*PATHS, "/log/entries", "/log/tile/entries/000.p/1"):
            assert (await here.client.get(path)).status_code == 401
            assert (await here.client.get(path, auth=SCANNER)).status_code == 403
            assert (await here.client.get(path, auth=READER)).status_code == 200


async def test_a_public_log_shows_hashes_to_all_and_entries_to_none(
    tmp_path: Path,
) -> None:
    async with published(tmp_path, PUBLIC) as here:
        for path in PATHS:
            assert (await here.client.get(path)).status_code == 200
        for path in ("/log/entries", "/log/tile/entries/000.p/1"):
            assert (await here.client.get(path)).status_code == 401
            assert (await here.client.get(path, auth=SCANNER)).status_code == 403


async def test_what_may_be_kept_on_the_way_is_said(tmp_path: Path) -> None:
    async with published(tmp_path) as here:
        kept = {path: (await got(here, path)).headers for path in PATHS}
        entries = (await got(here, "/log/entries")).headers
    assert kept[PATHS[0]]["cache-control"] == "private, max-age=2"
    assert kept[PATHS[1]]["cache-control"] == "private, max-age=31536000, immutable"
    assert entries["cache-control"] == "private, no-store"
    for headers in (*kept.values(), entries):
        assert "pragma" not in headers
        assert headers["x-content-type-options"] == "nosniff"


async def test_of_a_public_log_anybody_may_keep_the_hashes(tmp_path: Path) -> None:
    async with published(tmp_path, PUBLIC) as here:
        headers = (await here.client.get(PATHS[1])).headers
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
