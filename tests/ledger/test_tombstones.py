"""The library's readers over a ledger in which something was erased and pruned."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from eventsourcing.persistence import Notification

from grantledger.adapters.keys.envelope import DataKey
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.recorders import LedgerApplicationRecorder
from grantledger.adapters.ledger.tombstones import Tombstones
from grantledger.domain.errors import IntegrityError
from grantledger.domain.grant_events import Erased, Provisioned, Revoked
from grantledger.domain.journal import AccessPruned
from grantledger.domain.ledger_events import Pruned
from grantledger.domain.pruning import prune
from grantledger.domain.values import ERASED_TEXT
from tests.ledger.parts import parts
from tests.ledger.scene import Scene, ctx, denial, new_grant


async def test_a_tailing_reader_gets_tombstones_and_no_gap(scene: Scene) -> None:
    async with scene.opened() as ledger:
        grant = new_grant()
        await ledger.append(grant)
        await ledger.record(denial(grant_id=grant.id, grant_version=1))
        now = datetime.now(UTC)
        await prune(
            ledger, ledger, lambda: ctx(now), before=now, outcomes=(), reason="old"
        )
        draft = grant.fork()
        draft.erase(ctx(), reason="operator", receipt="r-1")
        await ledger.append(draft)
        await ledger.destroy(grant.id)
    store = LedgerDatastore(str(scene.path))
    found = LedgerApplicationRecorder(store).select_notifications(None, 10)
    assert [n.id for n in found] == [1, 2, 3, 4, 5, 6]
    with parts(scene) as p, store.transaction(commit=False) as c:
        for stream in {n.originator_id for n in found if n.topic == Pruned.TOPIC}:
            assert isinstance(stream, UUID)
            p.keys.load(c, stream)
        gone = Tombstones(c, "rowid")
        mapper = LeafMapper(p.keys.cached, scene_random, gone)
        rows = [n for n in found if n.topic not in (Pruned.TOPIC, Erased.TOPIC)]
        events = [mapper.to_domain_event(n) for n in rows]
        assert [type(e) for e in events][:3] == [Provisioned, AccessPruned, Revoked]
        assert events[0].subject == ERASED_TEXT
        _strict(found[1])
    store.close()


def _strict(empty: Notification) -> None:
    """Who is not told what may be gone takes an empty leaf for damage."""
    keys: dict[UUID, DataKey] = {}
    with pytest.raises(IntegrityError, match="no Pruned event covers it"):
        LeafMapper(keys.__getitem__, scene_random).to_domain_event(empty)


def scene_random(count: int) -> bytes:
    return bytes(count)
