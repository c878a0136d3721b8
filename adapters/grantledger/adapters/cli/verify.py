"""`grantledger verify`: the ledger against itself, all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output
from grantledger.adapters.cli.checkpoint_check import compare, kept_checkpoint
from grantledger.adapters.cli.grant_check import GrantReport, check_grants
from grantledger.adapters.cli.leaf_check import LeafReport, check_leaves
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.cli.published_check import PublishedReport, check_published
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.cli.token_check import check_tokens
from grantledger.adapters.cli.trail_check import check_trail


def verify(
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="A signed checkpoint that the ledger must begin with.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="Its verifier key; the key ring's own by default.", show_default=False
        ),
    ] = None,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Recompute every hash, and rebuild every grant from its events."""

    async def work(
        opened: OpenBroker,
    ) -> tuple[str, LeafReport, PublishedReport, GrantReport, int, int]:
        name = opened.ledger.name
        kept = None
        if checkpoint is not None:
            kept = await kept_checkpoint(opened, checkpoint, key)
        at = None if kept is None else kept.checkpoint.size
        leaves = await check_leaves(opened.ledger, at)
        if kept is not None:
            compare(kept, leaves)
        published = await check_published(
            opened.ledger.published, opened.guard.public_keys(), leaves.leaves
        )
        await opened.ledger.life()  # opens every event of the ledger itself
        grants = await check_grants(opened.ledger, leaves.grant_streams)
        tokens = await check_tokens(opened.ledger)
        rows = await check_trail(opened.ledger)
        return name, leaves, published, grants, tokens, rows

    done = with_broker(config, work, tend=False)
    name, leaves, published, grants, tokens, rows = done
    data = {
        "ok": True,
        "ledger": name,
        "leaves": leaves.leaves,
        "root": leaves.root.hex(),
        "sealed_parts": leaves.sealed,
        "erased_grants": leaves.erased,
        "pruned_leaves": leaves.pruned,
        "grants": grants.grants,
        "grant_events": grants.events,
        "history_lines": grants.lines,
        "stored_states": grants.states,
        "indexed_tokens": tokens,
        "audit_rows": rows,
        "tiles": published.tiles,
        "published_checkpoints": published.checkpoints,
        "checkpoint": str(checkpoint) if checkpoint else None,
    }
    kept = (
        f"It begins with the leaves that {checkpoint} covers."
        if checkpoint
        else "Not checked: whether all of it was rewritten by somebody with the keys; "
        "a signed checkpoint that was kept elsewhere tells (--checkpoint)."
    )
    output.show(
        as_json,
        data,
        Text(f"{name} proves itself.", style="bold"),
        output.facts(
            [
                ("leaves", f"{leaves.leaves}, without a gap, each as its hash says"),
                ("root", f"{leaves.root.hex()}, as the head says"),
                ("sealed", f"{leaves.sealed} parts, each as its leaf's hash says"),
                *_gone(leaves),
                ("published", f"{published.checkpoints} checkpoints of these leaves"),
                ("grants", f"{grants.grants}, each row as its code says"),
                ("replay", f"{grants.events} events give the very same rows"),
                ("opened", f"{grants.lines} events and journal entries"),
                ("tokens", f"{tokens} in the index, each as its leaf says"),
                ("trail", f"{rows} rows of the audit trail, each as its leaf says"),
            ]
        ),
        Text(kept, style="dim"),
    )


def _gone(leaves: LeafReport) -> list[tuple[str, str]]:
    """Return what is missing as the log says, where anything is."""
    rows: list[tuple[str, str]] = []
    if leaves.erased:
        rows.append(("erased", f"{leaves.erased} grants, each by its last event"))
    if leaves.pruned:
        rows.append(
            ("pruned", f"{leaves.pruned} journal leaves, as the log said before")
        )
    return rows
