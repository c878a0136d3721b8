"""The commands, put together."""

from __future__ import annotations

import typer

from grantledger.adapters.cli.demo.command import demo

app = typer.Typer(
    name="grantledger",
    help="An event-sourced OAuth grant ledger and token broker.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback with locals would print tokens.
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(demo)


@app.callback()
def _root() -> None:
    """An event-sourced OAuth grant ledger and token broker."""
