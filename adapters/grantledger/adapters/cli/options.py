"""Options and arguments that more than one command has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from grantledger.domain.errors import InvalidScope
from grantledger.domain.values import Scopes, parse_scopes

DEFAULT_LABEL = "default"

Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Answer, and fail, as one JSON document.")
]
Config: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Settings; $GRANTLEDGER_CONFIG or ./grantledger.toml by default.",
        show_default=False,
    ),
]
ProviderName: TypeAlias = Annotated[
    str, typer.Argument(metavar="PROVIDER", help="As the settings name it.")
]
Subject: TypeAlias = Annotated[
    str, typer.Argument(metavar="SUBJECT", help="The user, by the server's `sub`.")
]
Label: TypeAlias = Annotated[
    str, typer.Option(help="Which of several grants of one user.")
]
ScopeList: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--scope", "-s", help="A scope, or several in quotes; repeatable."),
]

ReasonText: TypeAlias = Annotated[
    str | None, typer.Option(help="Why, in words; stored sealed.")
]
Ticket: TypeAlias = Annotated[
    str | None, typer.Option(help="Of your own system; stored sealed.")
]


def scopes_of(said: list[str] | None) -> Scopes:
    """Return the scopes that the options name.

    Raises:
        InvalidScope: one has characters or a length that no scope has.
    """
    try:
        return parse_scopes(" ".join(said or ()))
    except ValueError as cause:
        raise InvalidScope(str(cause), "scope") from cause
