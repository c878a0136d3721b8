"""`grantledger copy`: the ledger of a file, moved to PostgreSQL."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from grantledger.adapters.bootstrap.copying import Destination, Moved, copy_to
from grantledger.adapters.cli import output
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.ledger.copying.moving import Step, Tell

LINE_SECONDS = 1.0
_WORDS = {
    Step.CLAIMED: "the destination is ours",
    Step.COPIED: "copied",
    Step.LOCKED: "the file is locked for the last leaves",
    Step.CLOSING: "both logs are the same; the file is being closed",
    Step.CLOSED: "the file takes no more writes",
    Step.WHOLE: "everything is there",
    Step.FINISHED: "the destination is the ledger",
}


def copy(
    to: Annotated[
        str | None,
        typer.Option("--to", help="A postgresql:// URL without a password."),
    ] = None,
    to_config: Annotated[
        Path | None,
        typer.Option(help="Settings whose ledger is the destination."),
    ] = None,
    to_env: Annotated[
        str | None,
        typer.Option(help="Name of a variable that holds the destination's URL."),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(help="With --to or --to-env; `grantledger` by default."),
    ] = None,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Move the ledger from its file to PostgreSQL; the file takes no more writes.

    Brokers may go on with the file until it is closed. Run it as the owner of the
    schema, after `grantledger migrate` made it. What was interrupted goes on when the
    same command is run again.
    """
    if [to, to_config, to_env].count(None) != 2:  # noqa: PLR2004 - exactly one of three
        raise typer.BadParameter("name one of --to, --to-config and --to-env")
    if schema is not None and to_config is not None:
        raise typer.BadParameter("--schema does not go with --to-config")
    where = Destination(to, to_config, to_env, schema)
    with _progress(as_json=as_json) as tell:
        moved = copy_to(config, where, local_caller().actor, tell)
    data = {
        "source": moved.source,
        "destination": moved.destination,
        "leaves": moved.copied.leaves,
        "root": moved.copied.root.hex(),
        "resumed_at": moved.copied.resumed_at,
        "spool": moved.spool,
        "answers_waiting": moved.waiting,
    }
    output.show(
        as_json,
        data,
        Text(f"{moved.destination} is the ledger now.", style="bold"),
        output.facts(
            [
                ("source", f"{moved.source}, takes no more writes"),
                ("leaves", f"{moved.copied.leaves}, read back and compared"),
                ("root", moved.copied.root.hex()),
            ]
        ),
        Text(_next(moved)),
    )


def _next(moved: Moved) -> str:
    there = f"{moved.waiting} answers wait there. " if moved.waiting else ""
    return (
        "Start the brokers with ledger.url and ledger.schema of the destination, and "
        f"with ledger.spool = {moved.spool}: answers that were under way end there. "
        f"{there}Then run `grantledger verify`."
    )


@contextmanager
def _progress(*, as_json: bool) -> Generator[Tell]:
    """Yield what shows progress: a bar on a terminal, else lines on standard error."""
    if not as_json and sys.stderr.isatty():
        with output.progress() as bar:
            task = bar.add_task("leaves", total=None)

            def show(step: Step, done: int, of: int) -> None:
                bar.update(task, completed=done, total=of, description=_WORDS[step])

            yield show
    else:
        yield _lines(_json_line if as_json else _line)


def _lines(write: Callable[[Step, int, int], None]) -> Tell:
    clock = SystemClock()
    latest = -LINE_SECONDS

    def tell(step: Step, done: int, of: int) -> None:
        nonlocal latest
        now = clock.monotonic()
        if step is not Step.COPIED or now - latest >= LINE_SECONDS:
            latest = now
            write(step, done, of)

    return tell


def _line(step: Step, done: int, of: int) -> None:
    output.note(f"{done} of {of} leaves: {_WORDS[step]}")


def _json_line(step: Step, done: int, of: int) -> None:
    event = {"step": step.value, "leaves": done, "of": of}
    output.note(msgspec.json.encode(event).decode())
