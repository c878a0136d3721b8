"""`grantledger ask`: the questions of an incident and of an audit, answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.console import RenderableType
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.bootstrap.inquiring import Answered, answer_data, answered
from grantledger.adapters.cli import output
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import DEFAULT_LABEL, Config, Json, Label
from grantledger.adapters.cli.running import known_grant, with_broker
from grantledger.adapters.cli.times import time_of
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.values import GrantKey
from grantledger.projections.inquiry import DEFAULT_DAYS, Asked, Cell
from grantledger.projections.questions import QUESTIONS, question_named


def ask(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION", help="Left out: all questions.", show_default=False
        ),
    ] = None,
    provider: Annotated[
        str | None, typer.Argument(metavar="PROVIDER", show_default=False)
    ] = None,
    subject: Annotated[
        str | None, typer.Argument(metavar="SUBJECT", show_default=False)
    ] = None,
    label: Label = DEFAULT_LABEL,
    grant_id: Annotated[
        UUID | None,
        typer.Option("--grant", help="The grant, by its id.", show_default=False),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(help="The moment it turns on, RFC 3339.", show_default=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", help="Recorded from then on.", show_default=False),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Recorded before then.", show_default=False)
    ] = None,
    caller: Annotated[
        str | None, typer.Option(help="Of this service.", show_default=False)
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="From there, as the broker saw it.", show_default=False),
    ] = None,
    key_id: Annotated[
        str | None,
        typer.Option("--key", help="Id of a fingerprint key.", show_default=False),
    ] = None,
    days: Annotated[
        int, typer.Option(help="So long unused is too long.")
    ] = DEFAULT_DAYS,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Answer a question of an incident or an audit from the audit trail."""
    if name is None:
        _list(as_json=as_json)
        return
    question = question_named(name)
    if (provider is None) != (subject is None) or (grant_id and provider is not None):
        raise InvalidRequest("name PROVIDER and SUBJECT, or --grant", "subject")
    key = None
    if provider is not None and subject is not None:
        key = GrantKey(provider, subject, label)
    moment = time_of(at, "at")
    since_at, until_at = time_of(since, "from"), time_of(until, "until")

    async def work(opened: OpenBroker) -> Answered:
        grant = grant_id if key is None else (await known_grant(opened, key)).id
        asked = Asked(
            grant_id=grant,
            at=moment,
            since=since_at,
            until=until_at,
            caller=caller,
            address=address,
            key_id=key_id,
            days=days,
        )
        return await answered(opened, local_caller(), question, asked)

    found = with_broker(config, work, tend=False)
    output.show(as_json, answer_data(found), *_view(found))


def _list(*, as_json: bool) -> None:
    table = output.table("", "question", "answered by")
    for one in QUESTIONS:
        table.add_row(str(one.number), Text(one.words), Text(one.command))
    data = {
        "questions": [
            {
                "number": one.number,
                "name": one.name,
                "question": one.words,
                "command": one.command,
            }
            for one in QUESTIONS
        ]
    }
    output.show(as_json, data, table)


def _view(found: Answered) -> list[RenderableType]:
    answer = found.answer
    shown: list[RenderableType] = [Text(found.question.words, style="bold")]
    if answer.lines:
        table = output.table(*answer.columns)
        for line in answer.lines:
            table.add_row(*(Text(_words(cell)) for cell in line))
        shown.append(table)
    shown += [Text(output.plain(sentence)) for sentence in answer.says]
    if answer.more:
        shown.append(Text(f"{answer.more} more lines: narrow the question."))
    shown.append(
        Text(f"From the audit trail of {found.size} leaves.", style="dim"),
    )
    return shown


def _words(cell: Cell) -> str:
    if isinstance(cell, datetime):
        return output.utc(cell)
    if cell is None or cell == ():
        return "-"
    if isinstance(cell, list | tuple):
        return output.plain(" ".join(str(one) for one in cell))
    return output.plain(str(cell))
