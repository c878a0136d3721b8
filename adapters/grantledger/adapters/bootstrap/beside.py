"""What the worker does beside what every ledger needs: as the settings say."""

from __future__ import annotations

from collections.abc import Mapping

from grantledger.adapters.bootstrap.receivers import Receivers
from grantledger.adapters.bootstrap.regularly import Work
from grantledger.adapters.settings.shape import RetentionSettings
from grantledger.domain.announcing import Announcing
from grantledger.domain.retention import EntryClass, Retaining, Retention
from grantledger.domain.surroundings import Surroundings


def retention_of(said: RetentionSettings) -> Retention | None:
    """Return what the settings keep for how long, None where that is for ever."""
    named = {
        EntryClass.HAND_OUTS: said.hand_outs_days,
        EntryClass.DENIALS: said.denials_days,
        EntryClass.AUDIT_READS: said.audit_reads_days,
        EntryClass.EVENTS_SENT: said.events_sent_days,
    }
    days = {kind: value for kind, value in named.items() if value is not None}
    return Retention(days, said.every_days) if days else None


def works_beside(
    announcing: Announcing,
    receivers: Receivers,
    env: Surroundings,
    said: RetentionSettings | None,
) -> Mapping[str, Work]:
    """Return the works by name: telling receivers, and pruning what is over.

    Args:
        announcing: tells receivers.
        receivers: where there are none, nobody is told.
        env: of the broker.
        said: None where a moment's command prunes nothing.
    """
    works: dict[str, Work] = {}
    if receivers.by_name:
        works["announce"] = announcing.tend
    retention = None if said is None else retention_of(said)
    if retention is not None:
        works["retain"] = Retaining(env, retention).tend
    return works
