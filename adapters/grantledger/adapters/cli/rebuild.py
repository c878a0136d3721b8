"""`grantledger rebuild`: what is derived from the log, made again and compared."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.bootstrap.ledgers import place_of
from grantledger.adapters.bootstrap.rebuilding import filling
from grantledger.adapters.cli import output
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.ledger.rebuilding import Rebuilt, Tell
from grantledger.adapters.settings import load
from grantledger.domain.errors import InvalidRequest

DIFFERENT = 1
"""Exit code where `--compare` has found a difference."""
MOST_WORKERS = 32
RUN_BITS = 48


class Derived(StrEnum):
    """What can be made again."""

    AUDIT = "audit"
    TOKENS = "tokens"


def rebuild(
    what: Annotated[
        Derived,
        typer.Argument(help="The audit trail, or the index of tokens."),
    ] = Derived.AUDIT,
    *,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Only say where it differs; change nothing."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes side by side; only on PostgreSQL.",
            min=1,
            max=MOST_WORKERS,
            show_default="one a CPU, 4 at most",
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make the audit trail again from the log, compare it, and put it in place.

    Brokers go on meanwhile. What is interrupted has changed nothing. On PostgreSQL the
    maintenance role does it (ledger.maintenance_url).
    """
    count = _workers(config, workers)
    with _progress(as_json=as_json) as tell:

        async def work(opened: OpenBroker) -> Rebuilt:
            ledger = opened.ledger
            if what is Derived.TOKENS:
                return await ledger.rebuild_tokens(tell, swap=not compare)
            await ledger.complete_audit()
            if compare:
                return await ledger.compare_audit(tell)
            fill = filling(config, count, tell) if count > 1 else None
            run = secrets.randbits(RUN_BITS)
            return await ledger.rebuild_audit(tell, fill=fill, run=run)

        done = with_broker(config, work, tend=False)
    data = {
        "what": what.value,
        "leaves": done.leaves,
        "rows": done.rows,
        "differing": done.differing,
        "differences": [one._asdict() for one in done.differences],
        "replaced": not compare,
    }
    words = [Text(_said(what, done, compare=compare), style="bold")]
    if done.differences:
        shown = output.table("leaf", "entry", "difference")
        for one in done.differences:
            shown.add_row(str(one.leaf_index), str(one.entry), one.what)
        output.show(as_json, data, *words, shown)
    else:
        output.show(as_json, data, *words)
    if compare and done.differing:
        raise typer.Exit(DIFFERENT)


def _workers(config: Path | None, asked: int | None) -> int:
    if place_of(load(config)) is not None:
        return asked or min(os.cpu_count() or 1, 4)
    if asked not in {None, 1}:
        raise InvalidRequest("a file has one writer: workers is 1", "workers")
    return 1


def _said(what: Derived, done: Rebuilt, *, compare: bool) -> str:
    name = "The audit trail" if what is Derived.AUDIT else "The index of tokens"
    rows = f"{done.rows} rows of {done.leaves} leaves"
    if not done.differing:
        return f"{name} is what the log says: {rows}."
    if compare:
        return f"{name} differs from the log in {done.differing} places ({rows})."
    return f"{name} differed in {done.differing} places, and is made good ({rows})."


@contextmanager
def _progress(*, as_json: bool) -> Generator[Tell]:
    """Yield what shows progress: a bar on a terminal, else nothing."""
    if as_json or not sys.stderr.isatty():
        yield lambda _done, _of: None
        return
    with output.progress() as bar:
        task = bar.add_task("leaves", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
