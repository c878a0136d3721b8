"""What leaves the program: tables for people, one JSON document for programs.

Colour and width follow the terminal; without one there is no colour, and lines are
100 columns. Nothing here knows a token.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TextIO

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from grantledger.adapters.cli.exits import BROKEN_PIPE

WIDTH_WITHOUT_TERMINAL = 100


class _Console(Console):
    """A console that ends the program quietly when nobody reads any more."""

    def on_broken_pipe(self) -> NoReturn:
        quiet()


def quiet() -> NoReturn:
    """End without a word: the reader of our output has gone."""
    # What is still buffered must not be tried again at exit.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    raise typer.Exit(BROKEN_PIPE)


def console(file: TextIO | None = None) -> Console:
    """Return where people read: standard output, or the file given."""
    target = file or sys.stdout
    width = None if target.isatty() or "COLUMNS" in os.environ else 0
    return _Console(
        file=target,
        width=WIDTH_WITHOUT_TERMINAL if width == 0 else None,
        highlight=False,
        markup=False,
        emoji=False,
    )


def progress() -> Progress:
    """Return a bar for a person who waits, on standard error."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console(sys.stderr),
    )


def write(text: str) -> None:
    """Write a line to standard output, as it is."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        quiet()


def write_bytes(data: bytes) -> None:
    """Write bytes to standard output, as they are."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        quiet()


def note(text: str) -> None:
    """Write a line to standard error: for people, beside the answer."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def write_json(data: object) -> None:
    """Write one JSON document to standard output; times are RFC 3339 in UTC."""
    encoded = msgspec.json.encode(data, enc_hook=_plain)
    write(msgspec.json.format(encoded, indent=2).decode())


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON")


def show(as_json: bool, data: object, *people: RenderableType) -> None:  # noqa: FBT001 - every command passes its flag on
    """Write the answer: `data` for programs, or `people` for people."""
    if as_json:
        write_json(data)
        return
    screen = console()
    for one in people:
        screen.print(one)


def facts(rows: Sequence[tuple[str, RenderableType]]) -> RenderableType:
    """Return names and values, one pair a line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value if not isinstance(value, str) else Text(value))
    return Padding(table, (0, 0, 0, 1))


def table(*columns: str, **options: Any) -> Table:  # noqa: ANN401 - rich's own
    """Return an empty table with these headings."""
    made = Table(
        box=None, padding=(0, 2, 0, 0), header_style="bold underline", **options
    )
    for heading in columns:
        made.add_column(heading, overflow="fold")
    return made


def utc(at: datetime | None, none: str = "-") -> str:
    """Return a time as people read it."""
    return none if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def plain(text: str) -> str:
    """Return the text without what could steer a terminal; line breaks stay."""
    return "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def short(fingerprint: str | None) -> str:
    """Return the first digits of a fingerprint: enough to tell tokens apart."""
    return "-" if fingerprint is None else fingerprint.rpartition(":")[2][:8]
