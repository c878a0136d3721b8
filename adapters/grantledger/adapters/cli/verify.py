"""`grantledger verify`: the ledger against itself, all of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output
from grantledger.adapters.cli.leaf_check import LeafReport, check_leaves
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.cli.running import with_broker
from grantledger.domain.errors import IntegrityError
from grantledger.domain.user_grant import UserGrant
from grantledger.projections.audit_trail import history_lines

MAX_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class GrantReport:
    """What was compared of the grants.

    Attributes:
        lines: events and journal entries that were opened.
    """

    grants: int
    events: int
    lines: int


def verify(config: Config = None, *, as_json: Json = False) -> None:
    """Recompute every hash, and rebuild every grant from its events."""

    async def work(opened: OpenBroker) -> tuple[Path, LeafReport, GrantReport]:
        path = opened.ledger.path
        leaves = await check_leaves(path)
        return path, leaves, await _check_grants(opened, leaves)

    path, leaves, grants = with_broker(config, work, tend=False)
    data = {
        "ok": True,
        "ledger": path,
        "leaves": leaves.leaves,
        "root": leaves.root.hex(),
        "sealed_parts": leaves.sealed,
        "grants": grants.grants,
        "grant_events": grants.events,
        "history_lines": grants.lines,
    }
    output.show(
        as_json,
        data,
        Text(f"{path} proves itself.", style="bold"),
        output.facts(
            [
                ("leaves", f"{leaves.leaves}, without a gap, each as its hash says"),
                ("root", f"{leaves.root.hex()}, as the head says"),
                ("sealed", f"{leaves.sealed} parts, each as its leaf's hash says"),
                ("grants", f"{grants.grants}, each row as its code says"),
                ("replay", f"{grants.events} events give the very same rows"),
                ("opened", f"{grants.lines} events and journal entries"),
            ]
        ),
        Text(
            "Not checked: whether all of it was rewritten by somebody with the keys; "
            "signed checkpoints will tell.",
            style="dim",
        ),
    )


async def _check_grants(opened: OpenBroker, leaves: LeafReport) -> GrantReport:
    grants = await opened.ledger.grants()
    missing = leaves.grant_streams - {grant.id for grant in grants}
    if missing:
        raise IntegrityError(f"grant {min(missing)} has events and no row")
    events = lines = 0
    for grant in grants:
        checked = await _check_grant(opened, grant)
        events += checked.version
        lines += len(history_lines(await opened.ledger.history(grant.id)))
    return GrantReport(len(grants), events, lines)


async def _check_grant(opened: OpenBroker, grant: UserGrant) -> UserGrant:
    """Return the grant once row and replay were seen at the same version."""
    row: UserGrant | None = grant
    for _ in range(MAX_ROUNDS):
        replayed = await opened.ledger.replay(grant.id)
        if replayed is None or row is None:
            raise IntegrityError(f"grant {grant.id} has a row and no events")
        if replayed.version == row.version:
            if replayed.state == row.state:
                return replayed
            raise IntegrityError(
                f"grant {grant.id}: its row differs from its {row.version} events"
            )
        # Somebody wrote in between: the ledger is live.
        row = await opened.ledger.get(grant.id)
    raise IntegrityError(f"grant {grant.id}: row and events are at other versions")
