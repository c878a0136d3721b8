"""The log as others use it, on either store: tiles, proofs, published checkpoints."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from grantledger.adapters.cli.published_check import check_published
from grantledger.adapters.keys.signing import RingSigner
from grantledger.adapters.ledger.published_log import Published
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import IntegrityError, InvalidRequest
from grantledger.projections.checkpoints import Checkpoint, signed_note
from grantledger.projections.cosigning import Cosignature, Cosigner
from grantledger.projections.proofs import (
    MerkleTree,
    check_consistency,
    inclusion_root,
    range_root,
)
from grantledger.projections.tiles import Tile, tiles_of
from grantledger.projections.transparency import EMPTY_ROOT, leaf_hash
from tests.contract.stores import Store
from tests.ledger.scene import NOW, new_grant

LEAVES = 600
SIGNER = RingSigner(bytes(32))
KEY = SIGNER.public_key
FIRST = Published("example.com/log", 3, bytes(32), NOW, "a note\n")


async def filled(ledger: StoredLedger, leaves: int = LEAVES) -> MerkleTree:
    """Append so many leaves and return their tree."""
    grants = [new_grant(f"user-{number}") for number in range(leaves)]
    await asyncio.gather(*(ledger.append(grant) for grant in grants))
    read = await ledger.published.leaves(0, leaves)
    assert [leaf.index for leaf in read] == list(range(leaves))
    assert all(leaf_hash(leaf.state) == leaf.hashed for leaf in read)
    return MerkleTree([leaf.hashed for leaf in read])


async def test_tiles_and_proofs_are_those_of_the_stored_leaves(
    ledger: StoredLedger, store: Store
) -> None:
    tree = await filled(ledger)
    log = ledger.published
    assert await log.complete() == LEAVES
    assert await log.complete() == LEAVES
    # One row for each full tile, and none for the one that is not.
    rows = store.sql("SELECT level, number FROM log_nodes ORDER BY number")
    assert [tuple(row) for row in rows] == [(1, 0), (1, 1)]
    for tile in tiles_of(LEAVES):
        first, level = tile.start, 8 * (tile.level or 0)
        nodes = (tree.node(level, first + at) for at in range(tile.width))
        assert await log.read_tile(tile) == b"".join(nodes)
    root = (await ledger.log()).tree.root()
    for index in (0, 255, 256, LEAVES - 1):
        proof = await log.inclusion(index, LEAVES)
        assert inclusion_root(index, LEAVES, tree.node(0, index), proof) == root
    for old in (0, 1, 256, 511, LEAVES):
        proof = await log.consistency(old, LEAVES)
        check_consistency(old, tree.root(old), LEAVES, root, proof)
    proof = await log.range(250, 520, LEAVES)
    run = [leaf.hashed for leaf in await log.leaves(250, 520)]
    assert range_root(250, LEAVES, run, proof) == root


async def test_a_log_whose_roots_of_tiles_lack_is_read_all_the_same(
    ledger: StoredLedger, store: Store
) -> None:
    """Nobody has looked after them yet."""
    tree = await filled(ledger, 300)
    assert store.sql("SELECT count(*) FROM log_nodes")[0][0] == 0
    assert await ledger.published.read_tile(Tile(1, 0, 1)) == tree.node(8, 0)


async def test_of_a_full_tile_elsewhere_a_proof_reads_the_root_alone(
    ledger: StoredLedger, store: Store
) -> None:
    """Spoiled leaf hashes there are not even seen."""
    tree = await filled(ledger)
    await ledger.published.complete()
    store.sql(
        f"UPDATE stored_events SET leaf_hash = state WHERE {store.number} <= 256"  # noqa: S608 - a constant
    )
    proof = await ledger.published.inclusion(599, LEAVES)
    assert inclusion_root(599, LEAVES, tree.node(0, 599), proof) == tree.root()


async def test_a_leaf_that_is_missing_is_named(
    ledger: StoredLedger, store: Store
) -> None:
    await filled(ledger, 5)
    store.sql(f"DELETE FROM stored_events WHERE {store.number} = 3")  # noqa: S608 - a constant
    with pytest.raises(IntegrityError, match="leaves 0 to 4 there are 4"):
        await ledger.published.inclusion(0, 5)


@pytest.mark.parametrize(("index", "size"), [(5, 5), (-1, 5), (0, 6)])
async def test_what_the_log_does_not_have_is_not_proven(
    ledger: StoredLedger, index: int, size: int
) -> None:
    await filled(ledger, 5)
    with pytest.raises(InvalidRequest):
        await ledger.published.inclusion(index, size)
    with pytest.raises(InvalidRequest):
        await ledger.published.range(index, size + 1, size)


async def test_a_checkpoint_is_published_once_and_only_with_more_leaves(
    ledger: StoredLedger,
) -> None:
    log = ledger.published
    assert await log.newest(FIRST.origin) is None
    assert await log.publish(FIRST)
    assert not await log.publish(replace(FIRST, at=NOW + timedelta(hours=1)))
    assert not await log.publish(replace(FIRST, size=2))
    more = replace(FIRST, size=4, note="another\n")
    assert await log.publish(more)
    assert await log.publish(replace(FIRST, origin="example.com/other"))
    assert await log.newest(FIRST.origin) == more
    assert await log.published(FIRST.origin, 3) == FIRST
    assert await log.after(FIRST.origin, 0, 10) == [FIRST, more]
    assert await log.after(FIRST.origin, 3, 10) == [more]


async def test_of_replicas_that_publish_at_once_one_does(ledger: StoredLedger) -> None:
    log = ledger.published
    said = [
        await log.publish(one, gap_seconds=1.0, leaves=1000)
        for one in (
            FIRST,
            replace(FIRST, size=4, at=NOW + timedelta(milliseconds=400)),
            replace(FIRST, size=1003, at=NOW + timedelta(milliseconds=500)),
            replace(FIRST, size=1004, at=NOW + timedelta(milliseconds=1500)),
        )
    ]
    assert said == [True, False, True, True]
    tries = [replace(FIRST, size=5000 + n, note=f"{n}\n") for n in range(8)]
    at = NOW + timedelta(hours=1)
    done = await asyncio.gather(
        *(log.publish(replace(t, at=at), gap_seconds=1.0, leaves=1000) for t in tries)
    )
    assert done.count(True) == 1


async def test_witnesses_lines_stay_with_their_checkpoint(ledger: StoredLedger) -> None:
    log = ledger.published
    await log.publish(FIRST)
    one, two = (Cosigner(f"example.com/w{n}", bytes(32)) for n in (1, 2))
    await log.cosigned(FIRST, Cosignature(two, 8, "of two\n"))
    await log.cosigned(FIRST, Cosignature(one, 7, "of one\n"))
    await log.cosigned(FIRST, Cosignature(one, 9, "of one again\n"))
    await log.cosigned(replace(FIRST, size=9), Cosignature(one, 7, "of nothing\n"))
    newest = await log.newest(FIRST.origin)
    assert newest is not None
    assert newest.text == "a note\nof one\nof two\n"


async def published(ledger: StoredLedger, size: int, root: bytes) -> Published:
    origin = "example.com/log"
    note = signed_note(Checkpoint(origin, size, root), SIGNER)
    made = Published(origin, size, root, NOW, note)
    assert await ledger.published.publish(made)
    return made


async def test_what_was_published_is_compared_with_the_leaves(
    ledger: StoredLedger,
) -> None:
    tree = await filled(ledger)
    await ledger.published.complete()
    for size in (1, 255, 256, LEAVES):
        await published(ledger, size, tree.root(size))
    report = await check_published(ledger.published, [KEY], LEAVES)
    assert (report.tiles, report.checkpoints) == (2, 4)
    with pytest.raises(IntegrityError, match="of 1 leaves is not signed"):
        await check_published(ledger.published, [bytes(32)], LEAVES)


CHANGES = {
    "UPDATE checkpoints SET root = leaf_hash FROM stored_events": (
        "checkpoint of 300 leaves is not of the leaves that are stored"
    ),
    "UPDATE checkpoints SET note = replace(note, '300', '301')": (
        "checkpoint of 300 leaves says something else than its row"
    ),
    "UPDATE checkpoints SET note = 'none'": "checkpoint of 300 leaves is no checkpoint",
    "UPDATE checkpoints SET size = 301": "is not of the leaves|log is shorter",
    "UPDATE log_nodes SET hash = leaf_hash FROM stored_events": (
        "stored root of tile 0/0 differs"
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_was_changed_of_it_is_named(
    ledger: StoredLedger, store: Store, change: str
) -> None:
    tree = await filled(ledger, 300)
    await ledger.published.complete()
    await published(ledger, 300, tree.root())
    store.sql(change)
    with pytest.raises(IntegrityError, match=CHANGES[change]):
        await check_published(ledger.published, [KEY], 300)


async def test_an_empty_log_has_the_root_of_nothing(ledger: StoredLedger) -> None:
    assert await ledger.published.complete() == 0
    assert await ledger.published.leaves(0, 10) == []
    assert (await ledger.log()).tree.root() == EMPTY_ROOT
