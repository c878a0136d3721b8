"""`grantledger audit`: the audit trail, filtered, followed, or in an export's form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.bootstrap.audit_reading import (
    POLL_SECONDS,
    Reading,
    admitted,
    position_of,
    position_text,
)
from grantledger.adapters.cli import output
from grantledger.adapters.cli.audit_table import AuditTable
from grantledger.adapters.cli.files import NewFile
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.cli.times import time_of
from grantledger.domain.audit import (
    OF_EVENT,
    AuditFilter,
    AuditOutcome,
    AuditPage,
    AuditPosition,
    AuditRow,
)
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.fleet import check_limit
from grantledger.domain.values import TokenFingerprint
from grantledger.projections.exports.formats import (
    LINES,
    ExportFormat,
    Writing,
    writing,
)
from grantledger.projections.exports.rows import row_data

MAX_SHOWN = 10_000
USUAL = 100


class Form(StrEnum):
    """How rows are shown or written."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"
    OCSF = "ocsf"
    OTEL = "otel"


SHOWN = frozenset({Form.TABLE, Form.JSON})


def audit(
    since: Annotated[
        str | None,
        typer.Option("--from", help="Recorded then or later.", show_default=False),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Recorded before then.", show_default=False)
    ] = None,
    below: Annotated[
        int | None, typer.Option(help="Leaves below this index.", show_default=False)
    ] = None,
    grant: Annotated[
        UUID | None, typer.Option(help="Of this grant.", show_default=False)
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Of this provider.", show_default=False)
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(help="Of this user; needs --provider.", show_default=False),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Of this grant; needs --subject.", show_default=False),
    ] = None,
    caller: Annotated[
        str | None, typer.Option(help="Asked for by it.", show_default=False)
    ] = None,
    actor: Annotated[
        str | None,
        typer.Option(help="Done by it, or on its behalf.", show_default=False),
    ] = None,
    event: Annotated[
        str | None, typer.Option(help="Such as HandedOut.", show_default=False)
    ] = None,
    outcome: Annotated[
        AuditOutcome | None, typer.Option(help="How it ended.", show_default=False)
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="Of a token, whole.", show_default=False)
    ] = None,
    scope: Annotated[
        str | None, typer.Option(help="With this scope.", show_default=False)
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="From this address.", show_default=False)
    ] = None,
    request: Annotated[
        str | None, typer.Option(help="With this request id.", show_default=False)
    ] = None,
    form: Annotated[
        Form | None,
        typer.Option(
            "--format",
            help="A table by default; the last five have every row.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write an export to a new file.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help=f"So many at most; {USUAL} to be shown.", show_default=False),
    ] = None,
    collector: Annotated[
        str | None,
        typer.Option(
            help="Send OpenTelemetry logs there: its base URL.", show_default=False
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(help="Go on behind this position.", show_default=False),
    ] = None,
    config: Config = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show what comes, until interrupted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the audit trail, oldest first; reading it is itself recorded.

    A filter that is left out does not narrow; all that is said has to hold.
    """
    form = form or (Form.JSON if as_json else Form.TABLE)
    wanted = AuditFilter(
        recorded_from=time_of(since, "from"),
        recorded_until=time_of(until, "until"),
        below=below,
        grant_id=grant,
        provider=provider,
        subject=subject,
        label=label,
        caller=caller,
        actor=actor,
        event=event,
        outcome=outcome,
        fingerprint=None if fingerprint is None else TokenFingerprint(fingerprint),
        scope=scope,
        address=address,
        request_id=request,
    )
    begin = position_of(after)
    if collector is not None:
        if follow or out is not None or form not in {Form.TABLE, Form.OTEL}:
            raise InvalidRequest("a collector takes --format otel alone", "collector")
        _send(config, wanted, begin, limit, collector)
    elif follow:
        _follow(config, wanted, begin, form, out)
    elif form in SHOWN:
        if out is not None:
            raise InvalidRequest("a file has a format of exports: --format", "out")
        number = check_limit(USUAL if limit is None else limit, MAX_SHOWN)
        _show(config, wanted, begin, number, as_json=form is Form.JSON)
    else:
        if limit is not None:
            check_limit(limit, 2**31 - 1)
        _export(config, wanted, begin, limit, ExportFormat(form), out)


# -- shown


def _show(
    config: Path | None,
    wanted: AuditFilter,
    after: AuditPosition | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    async def work(
        opened: OpenBroker,
    ) -> tuple[list[AuditRow], AuditPosition | None, int, bool]:
        reading = await admitted(
            opened.broker, local_caller(), AuditUse.READ, wanted, "shown"
        )
        rows: list[AuditRow] = []
        end, size = after, 0
        async with aclosing(reading.rows(after, most=limit)) as pages:
            async for page in pages:
                rows += page.rows
                end, size = page.after, page.size
        return rows, end, size, reading.complete

    rows, end, size, complete = with_broker(config, work, tend=False)
    data = {
        "rows": [row_data(row) for row in rows],
        "after": None if end is None else position_text(end),
        "size": size,
        "complete": complete and after is None and end is None,
    }
    more = (
        []
        if end is None
        else [Text(f"There may be more: --after {position_text(end)}")]
    )
    table = AuditTable()
    for row in rows:
        table.add(row)
    output.show(as_json, data, table.whole() if rows else Text("Nothing."), *more)


# -- exported


def _export(
    config: Path | None,
    wanted: AuditFilter,
    after: AuditPosition | None,
    limit: int | None,
    form: ExportFormat,
    out: Path | None,
) -> None:
    if out is None and form is ExportFormat.PARQUET:
        raise InvalidRequest("parquet is written to a new file: --out", "out")
    writer = writing(form)

    async def work(opened: OpenBroker) -> int:
        reading = await admitted(
            opened.broker, local_caller(), AuditUse.EXPORT, wanted, str(form)
        )
        pages = reading.rows(after, most=limit)
        if out is None:
            return await _written(pages, writer, output.write_bytes)
        with NewFile(out) as file:
            return await _written(pages, writer, file.write)

    count = with_broker(config, work, tend=False)
    if out is not None:
        output.note(f"{out}: {count} rows")


async def _written(
    pages: AsyncGenerator[AuditPage],
    writer: Writing,
    write: Callable[[bytes], object],
) -> int:
    count = 0
    write(writer.begin())
    async with aclosing(pages):
        async for page in pages:
            write(writer.rows(page.rows))
            count += len(page.rows)
    write(writer.end())
    return count


def _send(
    config: Path | None,
    wanted: AuditFilter,
    after: AuditPosition | None,
    limit: int | None,
    collector: str,
) -> None:
    try:
        # Here, since the extra need not be installed.
        from grantledger.adapters.telemetry.audit_logs import LogSender  # noqa: PLC0415 - see above
    except ImportError:
        raise InvalidRequest(
            "sending logs needs the extra: pip install 'grantledger[otel]'", "collector"
        ) from None
    if not collector.startswith(("http://", "https://")) or "@" in collector:
        raise InvalidRequest(
            "collector is a URL, such as http://127.0.0.1:4318, without a password",
            "collector",
        )

    async def work(opened: OpenBroker) -> int:
        reading = await admitted(
            opened.broker, local_caller(), AuditUse.EXPORT, wanted, "sent as logs"
        )
        count = 0
        with closing(LogSender(collector)) as sender:
            async with aclosing(reading.rows(after, most=limit)) as pages:
                async for page in pages:
                    await sender.send(page.rows)
                    count += len(page.rows)
        return count

    count = with_broker(config, work, tend=False)
    output.note(f"{collector}: {count} rows")


# -- followed


def _follow(
    config: Path | None,
    wanted: AuditFilter,
    after: AuditPosition | None,
    form: Form,
    out: Path | None,
) -> None:
    if out is not None:
        raise InvalidRequest("what is followed goes to standard output", "out")
    if form in {Form.CSV, Form.PARQUET}:
        raise InvalidRequest(f"{form} cannot be followed", "format")
    begin = after
    if begin is None and wanted.recorded_from is not None:
        begin = AuditPosition(-1, OF_EVENT)
    tell = _teller(form)

    async def rest() -> bool:
        await asyncio.sleep(POLL_SECONDS)
        return True

    async def work(opened: OpenBroker) -> None:
        reading: Reading = await admitted(
            opened.broker, local_caller(), AuditUse.FOLLOW, wanted, "followed"
        )
        async with aclosing(reading.following(begin, rest)) as found:
            async for _, rows in found:
                tell(rows)

    with_broker(config, work, tend=False)


def _teller(form: Form) -> Callable[[Sequence[AuditRow]], None]:
    if form is Form.TABLE:
        table = AuditTable()
        return table.print
    line = LINES[ExportFormat.NDJSON if form is Form.JSON else ExportFormat(form)]

    def tell(rows: Sequence[AuditRow]) -> None:
        output.write_bytes(b"".join(map(line, rows)))

    return tell
