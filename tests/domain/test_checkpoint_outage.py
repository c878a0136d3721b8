"""An outage of published checkpoints is in the log once, and so is its end."""

from __future__ import annotations

from grantledger.domain.ledger_events import CheckpointFailed, CheckpointResumed
from grantledger.domain.ledger_life import LedgerLife
from tests.ledger.scene import ctx


def test_an_outage_is_said_once_and_its_end_once() -> None:
    life = LedgerLife()
    assert not life.checkpoint_resumed(ctx(), published=3)
    assert life.checkpoint_failed(ctx(), cause="late", published=3, size=9)
    assert LedgerLife(life.pending_events).state.unpublished
    assert not life.checkpoint_failed(ctx(), cause="late", published=3, size=12)
    assert life.checkpoint_resumed(ctx(), published=14)
    assert not life.state.unpublished
    failed, resumed = life.pending_events
    assert isinstance(failed, CheckpointFailed)
    assert (failed.cause, failed.published, failed.size) == ("late", 3, 9)
    assert isinstance(resumed, CheckpointResumed)
    assert resumed.published == 14
    again = LedgerLife(life.pending_events)
    assert again.checkpoint_failed(ctx(), cause="late", published=14, size=15)
