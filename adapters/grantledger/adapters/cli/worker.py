"""`grantledger worker`: looks after grants until it is told to stop, or once."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.text import Text

from grantledger.adapters.bootstrap import Round, open_broker
from grantledger.adapters.bootstrap.watching import sampling, watching
from grantledger.adapters.cli import output
from grantledger.adapters.cli.logging_up import logging_of
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.settings import Settings, load
from grantledger.adapters.telemetry.opened import Telemetry
from grantledger.adapters.telemetry.watch import UNWATCHED


def worker(
    config: Config = None,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="One full round, then end; for a timer.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rotate in time, settle what is owed, watch for expiry; until told to stop."""
    done = anyio.run(lambda: _run(config, once=once, as_json=as_json))
    if done is None:
        return
    facts = [
        ("due", f"{done.due} lost leases and owed revocations"),
        ("still due", str(done.still_due)),
        ("expired", str(done.expired)),
        ("rotated", str(done.rotated)),
        ("failed", str(done.failed)),
        ("paused", ", ".join(done.paused) or "no provider"),
    ]
    cut = [] if done.whole else [Text("Stopped before the end.")]
    output.show(as_json, done, output.facts(facts), *cut)


async def _run(config: Path | None, *, once: bool, as_json: bool) -> Round | None:
    # Around everything: a second signal while draining must not end the process.
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        settings = load(config)
        tell = logging_of(settings)
        with watching(settings, settings.file.worker) as telemetry:
            return await _work(
                settings, signals, telemetry, tell, once=once, as_json=as_json
            )


async def _work(
    settings: Settings,
    signals: AsyncIterator[signal.Signals],
    telemetry: Telemetry | None,
    tell: Callable[[str], None],
    *,
    once: bool,
    as_json: bool,
) -> Round | None:
    watch = telemetry or UNWATCHED
    async with (
        open_broker(settings, tend=not once, watch=watch) as opened,
        sampling(opened, settings, telemetry),
    ):
        if not once:
            if not as_json:
                tell(f"grantledger worker: looks after {opened.ledger.name}")
            await anext(aiter(signals))
            return None
        done = Round()
        async with anyio.create_task_group() as group:
            group.start_soon(_stop, signals, group.cancel_scope)
            await opened.worker.once(done)
            group.cancel_scope.cancel()
        return done


async def _stop(
    signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope
) -> None:
    await anext(signals)
    scope.cancel()
