"""`grantledger evidence`: a bundle that proves what was recorded, to be checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.bootstrap.bundle import placed
from grantledger.adapters.bootstrap.evidence import Evidence, make_evidence
from grantledger.adapters.cli import output
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.cli.secrets_in import read_secret
from grantledger.adapters.cli.times import time_of
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.evidence import EvidenceAsked
from grantledger.domain.policy import Operation
from grantledger.domain.values import Secret


def evidence(
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="A new directory, or a new file that ends in .zip."
        ),
    ],
    *,
    grant_id: Annotated[
        UUID | None,
        typer.Option("--grant", help="All about this grant.", show_default=False),
    ] = None,
    token_stdin: Annotated[
        bool,
        typer.Option("--token", help="All about the grant of the token on stdin."),
    ] = False,
    subject: Annotated[
        str | None,
        typer.Option(
            metavar="PROVIDER/SUBJECT",
            help="All about every grant of a user.",
            show_default=False,
        ),
    ] = None,
    erasure: Annotated[
        UUID | None,
        typer.Option(help="That this grant was erased.", show_default=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--from", help="What was recorded from then on.", show_default=False
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--to", help="What was recorded before.", show_default=False),
    ] = None,
    complete: Annotated[
        bool,
        typer.Option(
            "--complete", help="With every leaf between, so that none can be missing."
        ),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write an evidence bundle: leaves, proofs, what was opened, and a report.

    `grantledger-verify bundle OUT --key KEY` checks it on a machine without the ledger.
    """
    provider, user = _user(subject)
    token = Secret(read_secret("Token", "token")) if token_stdin else None
    asked = EvidenceAsked(
        grant_id=grant_id,
        token=token,
        provider=provider,
        subject=user,
        erasure=erasure,
        recorded_from=time_of(since, "from"),
        recorded_until=time_of(until, "to"),
        complete=complete,
    )

    async def work(opened: OpenBroker) -> tuple[Evidence, str]:
        caller = local_caller()
        await opened.broker.authorise(caller, Operation.EVIDENCE)
        if token is not None:
            await opened.ledger.complete_tokens()
        with placed(out, opened.clock.now()) as directory:
            made = await make_evidence(opened, caller, asked, directory)
        return made, await opened.guard.verifier_key()

    made, key = with_broker(config, work, tend=False)
    said = made.manifest
    data = {
        "out": out,
        "complete": said.complete,
        "grants": made.grants,
        "leaves": made.leaves,
        "opened": made.opened,
        "rows": made.rows,
        "origin": said.checkpoint.origin,
        "size": said.checkpoint.size,
        "root": said.checkpoint.root.hex(),
        "key": key,
    }
    whole = "every leaf of a range" if said.complete else "chosen leaves"
    output.show(
        as_json,
        data,
        output.facts(
            [
                ("bundle", f"{out}, {len(said.files) + 1} files"),
                ("leaves", f"{made.leaves}: {whole}, each proven"),
                ("opened", f"{made.opened} sealed fields"),
                ("rows", f"{made.rows}, in words, in report.html and events.ndjson"),
                ("checkpoint", f"{said.checkpoint.size} leaves, signed"),
                ("key", key),
            ]
        ),
        Text(
            "Nothing between is left out: the range proves it."
            if said.complete
            else "It proves what it holds, and not that nothing is left out: "
            "--complete does."
        ),
        Text(
            f"Check it elsewhere: grantledger-verify bundle {out} --key KEY",
            style="dim",
        ),
    )


def _user(text: str | None) -> tuple[str | None, str | None]:
    """Return (provider, subject); the subject may hold slashes itself."""
    if text is None:
        return None, None
    provider, slash, subject = text.partition("/")
    if not slash:
        raise InvalidRequest("a subject is said as PROVIDER/SUBJECT", "subject")
    return provider, subject
