"""Tiles: their number, names and contents, and proofs made out of them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantledger.projections.proofs import (
    MerkleTree,
    check_consistency,
    consistency_proof,
    inclusion_proof,
    inclusion_root,
)
from grantledger.projections.tiles import (
    Tile,
    TileHashes,
    bundles_of,
    nodes_at,
    read_entries,
    read_path,
    split_hashes,
    tiles_of,
    written_entries,
)
from grantledger.projections.transparency import CompactRange, leaf_hash

LARGE = 70_000


def test_a_log_of_70000_leaves_has_the_tiles_of_the_specification() -> None:
    counted = Counter((tile.level, tile.width) for tile in tiles_of(LARGE))
    assert counted == {
        (0, 256): 273,
        (0, 112): 1,
        (1, 256): 1,
        (1, 17): 1,
        (2, 1): 1,
    }
    assert Counter(tile.width for tile in bundles_of(LARGE)) == {256: 273, 112: 1}


def test_a_log_of_256_leaves_has_a_full_tile_and_a_partial_one_above() -> None:
    assert list(tiles_of(256)) == [Tile(0, 0), Tile(1, 0, 1)]


def test_a_log_without_leaves_has_no_tiles() -> None:
    assert [*tiles_of(0), *bundles_of(0)] == []


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "0/000"),
        (Tile(0, 273, 112), "0/273.p/112"),
        (Tile(1, 1_234_067), "1/x001/x234/067"),
        (Tile(None, 1000, 1), "entries/x001/000.p/1"),
        (Tile(63, 999), "63/999"),
    ],
)
def test_a_tile_is_named_as_the_specification_says(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert read_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "0",
        "0/0",
        "00/000",
        "64/000",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/01",
        "0/000/000",
        "0/x000/001",
        "0/x001/x234",
        "0/001.p",
        "entries/1",
        "data/000",
        "0/\u0660\u0660\u0661",
        "0/000\n",
        "-1/000",
        "0/../000",
    ],
)
def test_what_is_no_tiles_name_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="tile"):
        read_path(path)


@given(
    st.one_of(st.none(), st.integers(0, 63)),
    st.integers(0, 10**15),
    st.integers(1, 256),
)
def test_every_tile_has_one_name_that_leads_back(
    level: int | None, number: int, width: int
) -> None:
    tile = Tile(level, number, width)
    assert read_path(tile.path) == tile


@given(st.text(max_size=40))
def test_a_name_of_anybody_is_read_or_refused(path: str) -> None:
    try:
        tile = read_path(path)
    except ValueError:
        return
    assert tile.path == path


@given(st.integers(0, 2**24), st.integers(0, 2**24))
def test_a_grown_log_adds_the_tiles_that_were_not_full(one: int, two: int) -> None:
    """As far as two hundred thousand leaves make it quick to count."""
    old, size = sorted((one % 200_000, two % 200_000))
    full = {tile for tile in tiles_of(old) if tile.width == 256}
    assert set(tiles_of(size, old)) == set(tiles_of(size)) - full


@given(st.integers(0, 2**30))
def test_the_widths_of_a_level_are_all_of_its_hashes(size: int) -> None:
    level = size.bit_length() // 8
    widths = [t.width for t in tiles_of(size % 100_000) if t.level == 0]
    assert sum(widths) == size % 100_000
    assert nodes_at(level, size) == size // 256**level


def large_log() -> tuple[CompactRange, dict[tuple[int, int], bytes]]:
    """Return a log of 70,000 leaves with each of its tiles, as published."""
    hashes = [leaf_hash(number.to_bytes(4, "big")) for number in range(LARGE)]
    edge = CompactRange()
    edge.extend(hashes)
    tree = MerkleTree(hashes)
    tiles = {
        (tile.level or 0, tile.number): b"".join(
            tree.node(8 * (tile.level or 0), tile.start + at)
            for at in range(tile.width)
        )
        for tile in tiles_of(LARGE)
    }
    return edge, tiles


def test_proofs_out_of_tiles_lead_to_the_roots_of_the_log() -> None:
    edge, tiles = large_log()
    asked: list[Tile] = []

    def read(tile: Tile) -> bytes:
        asked.append(tile)
        return tiles[tile.level or 0, tile.number]

    for index in (0, 255, 256, 65_535, 65_536, 69_999):
        hashes = TileHashes(read, LARGE)
        proof = inclusion_proof(index, LARGE, hashes)
        leaf = leaf_hash(index.to_bytes(4, "big"))
        assert inclusion_root(index, LARGE, leaf, proof) == edge.root()
    smaller = CompactRange()
    smaller.extend(leaf_hash(number.to_bytes(4, "big")) for number in range(4_711))
    hashes = TileHashes(read, LARGE)
    proof = consistency_proof(4_711, LARGE, hashes)
    check_consistency(4_711, smaller.root(), LARGE, edge.root(), proof)
    # A few tiles for each proof, and never one that the log has not.
    assert len(asked) < 7 * 8
    assert all(tile.within(LARGE) for tile in asked)


def test_a_tile_that_is_too_short_makes_no_proof() -> None:
    with pytest.raises(ValueError, match="too short"):
        inclusion_proof(0, 3, TileHashes(lambda _: b"\0" * 32, 3))


def test_a_tile_holds_whole_hashes() -> None:
    assert split_hashes(b"a" * 32 + b"b" * 32) == [b"a" * 32, b"b" * 32]
    for data in (b"", b"\0" * 31, b"\0" * 32 * 257):
        with pytest.raises(ValueError, match="no tile"):
            split_hashes(data)


@given(st.lists(st.binary(max_size=50), max_size=256))
def test_a_bundle_gives_its_entries_back(leaves: list[bytes]) -> None:
    assert read_entries(written_entries(leaves)) == leaves


@given(st.binary(max_size=200))
def test_a_bundle_of_anybody_is_read_or_refused(data: bytes) -> None:
    try:
        entries = read_entries(data)
    except ValueError:
        return
    assert written_entries(entries) == data


def test_a_bundle_keeps_the_limits() -> None:
    assert read_entries(written_entries([b"x" * 65_535])) == [b"x" * 65_535]
    with pytest.raises(ValueError, match="limit is 65535"):
        written_entries([b"x" * 65_536])
    with pytest.raises(ValueError, match="at most 256"):
        read_entries(b"\0\0" * 257)
    with pytest.raises(ValueError, match="entry 1 of a bundle is cut short"):
        read_entries(b"\0\1a\0\2b")
