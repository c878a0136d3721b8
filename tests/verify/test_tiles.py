"""A log as tiles, written by the ledger's own export: what holds, and every change."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from grantledger.adapters.ledger.log_export import export
from grantledger.projections.proofs import MerkleTree
from grantledger.projections.tiles import bundles_of, tiles_of, written_entries
from grantledger.projections.transparency import leaf_hash
from grantledger.projections.verify.findings import Findings, Refuted
from grantledger.projections.verify.folder import Folder
from grantledger.projections.verify.notes import Note
from grantledger.projections.verify.tiles import check_tiles
from tests.ledger.scene import Scene
from tests.verify.scene import Verifier, Written

EVENTS, SEALED, GRANTS = (
    f"tables/{name}.ndjson" for name in ("stored_events", "sealed", "current_grants")
)


@pytest.fixture(scope="session")
def exported(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "log"
    folder.mkdir()

    async def write() -> None:
        async with Scene(written.path, written.ring).opened() as ledger:
            await export(ledger.published, folder)

    asyncio.run(write())
    shutil.copy(written.newest, folder / "checkpoint")
    (folder / "keys.txt").write_text(f"{written.key}\n")
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "log"))


def test_an_export_holds_with_all_its_tables(
    written: Written, verifier: Verifier, exported: Path
) -> None:
    asked = ("tiles", exported, "--key", written.key)
    said = verifier.holds(*asked, "--older", written.older)
    assert said["tables"] == [EVENTS, SEALED, GRANTS]
    assert (said["grants"], said["erased_grants"], said["pruned_leaves"]) == (5, 1, 2)
    assert said["older"] == [22]


def test_without_its_tables_it_says_what_is_not_proven(
    written: Written, verifier: Verifier, folder: Path
) -> None:
    shutil.rmtree(folder / "tables")
    said = verifier.holds("tiles", folder, "--key", written.key)
    assert said["tables"] == []
    assert sum("not there" in limit for limit in said["not_proven"]) == 3


def test_its_own_keys_are_named_and_not_trusted(
    verifier: Verifier, exported: Path, written: Written
) -> None:
    said = verifier("tiles", exported)
    assert said["code"] == 2
    assert written.key in said["error"]


Change = Callable[[bytes], bytes]


def line(number: int, **fields: object) -> Change:
    """Return what changes fields of one line of a table."""

    def change(data: bytes) -> bytes:
        lines = data.splitlines()
        said = json.loads(lines[number]) | fields
        lines[number] = json.dumps(said).encode()
        return b"".join(each + b"\n" for each in lines)

    return change


def without(number: int) -> Change:
    def change(data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        return b"".join(lines[:number] + lines[number + 1 :])

    return change


CASES: list[tuple[str, Change, str]] = [
    ("tile/0/000.p/28", lambda d: d[:99] + b"\0" + d[100:], "leaf 3: its entry"),
    ("tile/0/000.p/28", lambda d: d[:-1], "not 28 hashes"),
    ("tile/0/000.p/28", lambda d: d[32:64] + d[:32] + d[64:], "leaf 0: its entry"),
    ("tile/entries/000.p/28", lambda d: d[:9] + b"X" + d[10:], "leaf 0: its entry"),
    ("tile/entries/000.p/28", lambda d: d[:-1], "leaf 27: "),
    ("tile/entries/000.p/28", lambda d: d + b"\0\0", "more than 28 entries"),
    ("checkpoint", lambda d: d.replace(b"\n28\n", b"\n27\n"), "is wrong"),
    ("tables/stored_events.ndjson", without(9), "is of leaf 10, not 9"),
    ("tables/stored_events.ndjson", without(27), "leaf 27: has no line"),
    ("tables/stored_events.ndjson", lambda d: d + d[:9], "has no end"),
    ("tables/stored_events.ndjson", line(9, topic="x"), "leaf 9: its topic"),
    ("tables/stored_events.ndjson", line(9, version=7), "leaf 9: its version"),
    ("tables/stored_events.ndjson", line(9, stream="0" * 32), "leaf 9: its stream"),
    ("tables/stored_events.ndjson", line(9, leaf_hash=""), "leaf 9: its leaf_hash"),
    ("tables/sealed.ndjson", without(0), "leaf 0: sealed"),
    ("tables/sealed.ndjson", line(0, ct_sha256=""), "leaf 0, sealed"),
    ("tables/sealed.ndjson", line(0, field="more"), "names no such part"),
    ("tables/sealed.ndjson", line(20, leaf_index=0), "out of order"),
    ("tables/sealed.ndjson", line(-1, leaf_index=99), "leaf 99: "),
    ("tables/current_grants.ndjson", without(0), "there is no row"),
    ("tables/current_grants.ndjson", line(0, version=77), "its version is 77"),
    ("tables/current_grants.ndjson", line(0, status="x"), "its status is 'x'"),
    ("tables/current_grants.ndjson", line(0, grant_id="x"), "no event speaks"),
]


@pytest.mark.parametrize(
    ("name", "change", "found"),
    CASES,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_change_is_found_with_its_position(
    written: Written,
    verifier: Verifier,
    folder: Path,
    name: str,
    change: Change,
    found: str,
) -> None:
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    findings = verifier.found("tiles", folder, "--key", written.key)
    assert any(found in each for each in findings), findings


def test_a_file_that_is_missing_or_a_link_is_found(
    written: Written, verifier: Verifier, folder: Path
) -> None:
    path = folder / "tile/0/000.p/28"
    moved = folder.parent / "elsewhere"
    path.rename(moved)
    asked = ("tiles", folder, "--key", written.key)
    assert "tile/0/000.p/28: is missing" in verifier.found(*asked)[0]
    path.symlink_to(moved)
    assert "tile/0/000.p/28: is missing" in verifier.found(*asked)[0]


def plain_log(folder: Path, size: int) -> Note:
    """Write tiles of leaves as the format has them; they say nothing of grants."""
    leaves = [b'{"v":1,"n":%d}' % number for number in range(size)]
    levels = [[leaf_hash(leaf) for leaf in leaves]]
    while len(levels[-1]) >= 256:
        below = levels[-1]
        levels.append(
            [
                MerkleTree(below[at : at + 256]).root()
                for at in range(0, len(below) // 256 * 256, 256)
            ]
        )
    for tile in tiles_of(size):
        path = folder / "tile" / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        assert tile.level is not None
        hashes = levels[tile.level][tile.start : tile.start + tile.width]
        path.write_bytes(b"".join(hashes))
    for tile in bundles_of(size):
        path = folder / "tile" / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(written_entries(leaves[tile.start : tile.start + tile.width]))
    return Note("plain.example", size, MerkleTree(levels[0]).root(), b"", ())


def findings_of(folder: Path, note: Note) -> list[str]:
    """Return what is found, but that the leaves are none of a ledger."""
    findings = Findings()
    with Folder(folder) as opened:
        try:
            check_tiles(opened, note, [], findings)
        except Refuted as refuted:
            findings.items.append(refuted.finding)
    return [str(f) for f in findings.items if "is no leaf of" not in f.message]


def test_the_tiles_above_the_leaves_are_compared(tmp_path: Path) -> None:
    """A wrong one misleads whoever proves something by it."""
    note = plain_log(tmp_path, 600)
    assert findings_of(tmp_path, note) == []
    path = tmp_path / "tile/1/000.p/2"
    data = path.read_bytes()
    path.write_bytes(data[:32] + bytes(32))
    assert findings_of(tmp_path, note) == [
        "tile/1/000.p/2: hash 1 is not that over leaves 256 to 511"
    ]
    path.unlink()
    assert "tile/1/000.p/2: is missing" in findings_of(tmp_path, note)[0]


def test_a_full_tile_will_do_for_a_partial_one(tmp_path: Path) -> None:
    """The log has grown since: partial tiles may be gone (tlog-tiles)."""
    grown = plain_log(tmp_path, 512)
    assert findings_of(tmp_path, grown) == []
    older = tmp_path / "older"
    note = plain_log(older, 300)
    for kind in ("0", "entries"):
        shutil.rmtree(older / "tile" / kind / "001.p")
        shutil.copy(tmp_path / "tile" / kind / "001", older / "tile" / kind / "001")
    assert findings_of(older, note) == []
