"""`grantledger import`: refresh tokens that were obtained elsewhere."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output, views
from grantledger.adapters.cli.files import read_secret_file
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import (
    DEFAULT_LABEL,
    Config,
    Json,
    Label,
    ScopeList,
    scopes_of,
)
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.cli.secrets_in import read_secret
from grantledger.adapters.cli.times import time_of
from grantledger.adapters.nextcloud.takeover import TakeoverReport, take_over
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.requests import check_key
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import GrantKey, RefreshToken, Scopes


def import_grant(
    provider: Annotated[
        str | None, typer.Argument(metavar="PROVIDER", show_default=False)
    ] = None,
    subject: Annotated[
        str | None, typer.Argument(metavar="SUBJECT", show_default=False)
    ] = None,
    label: Label = DEFAULT_LABEL,
    scope: ScopeList = None,
    expires_at: Annotated[
        str | None,
        typer.Option(help="When it ends, RFC 3339, such as 2030-01-31T00:00:00Z."),
    ] = None,
    from_sqlite: Annotated[
        Path | None,
        typer.Option(help="The earlier broker's database: take over all its tokens."),
    ] = None,
    fernet_key_file: Annotated[
        Path | None, typer.Option(help="A file with the earlier broker's key.")
    ] = None,
    provider_option: Annotated[
        str | None,
        typer.Option("--provider", help="Whose tokens; the only one by default."),
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --from-sqlite: store nothing.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take over a refresh token from standard input, or an earlier broker's."""
    if from_sqlite is not None or fernet_key_file is not None:
        if from_sqlite is None or fernet_key_file is None:
            raise typer.BadParameter("--from-sqlite and --fernet-key-file go together")
        if subject is not None or scope or expires_at or label != DEFAULT_LABEL:
            raise typer.BadParameter(
                "SUBJECT, --scope, --expires-at and --label do not go with "
                "--from-sqlite: they come from the database"
            )
        named = provider_option or provider
        report = _all(config, from_sqlite, fernet_key_file, named, dry_run=dry_run)
        _show_report(report, dry_run=dry_run, as_json=as_json)
        return
    if provider is None or subject is None or provider_option is not None or dry_run:
        raise typer.BadParameter(
            "name PROVIDER and SUBJECT, or --from-sqlite and --fernet-key-file"
        )
    grant = _one(
        config,
        GrantKey(provider, subject, label),
        scopes_of(scope),
        time_of(expires_at, "expires_at"),
    )
    output.show(as_json, views.grant_data(grant), views.grant_view(grant))


def _one(
    config: Path | None, key: GrantKey, scopes: Scopes, expires_at: datetime | None
) -> UserGrant:
    check_key(key)
    secret = RefreshToken(read_secret("Refresh token", "refresh_token"))

    async def work(opened: OpenBroker) -> UserGrant:
        rules = opened.broker.env.provider(key.provider).rules
        consent = Consent(
            key=key,
            client_id=rules.client_id,
            flow="import",
            scopes=scopes,
            refresh_token=secret,
            refresh_expires_at=expires_at,
            audience=rules.audience,
        )
        return await opened.broker.provision(local_caller(), consent)

    return with_broker(config, work)


def _all(
    config: Path | None,
    database: Path,
    key_file: Path,
    provider: str | None,
    *,
    dry_run: bool,
) -> TakeoverReport:
    key = read_secret_file(key_file, "fernet_key_file")

    async def work(opened: OpenBroker) -> TakeoverReport:
        known = sorted(opened.providers)
        if provider is None and len(known) != 1:
            raise InvalidRequest(
                f"name one with --provider; known: {', '.join(known) or 'none'}",
                "provider",
            )
        return await take_over(
            opened,
            local_caller(),
            database,
            key,
            provider or known[0],
            dry_run=dry_run,
        )

    return with_broker(config, work)


def _show_report(report: TakeoverReport, *, dry_run: bool, as_json: bool) -> None:
    table = output.table("skipped", "why")
    for subject, why in report.skipped:
        table.add_row(Text(subject), Text(why))
    verb = "would be" if dry_run else "were"
    output.show(
        as_json,
        {
            "dry_run": dry_run,
            "imported": report.imported,
            "skipped": [{"subject": s, "reason": r} for s, r in report.skipped],
        },
        Text(
            f"{report.imported} grants {verb} taken over, "
            f"{len(report.skipped)} skipped."
        ),
        *([table] if report.skipped else []),
    )
