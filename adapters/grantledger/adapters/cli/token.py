"""`grantledger token`: an access token, recorded before it is printed."""

from __future__ import annotations

from typing import Annotated

import typer

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output
from grantledger.adapters.cli.identity import caller_named
from grantledger.adapters.cli.options import (
    DEFAULT_LABEL,
    Config,
    Json,
    Label,
    ProviderName,
    ScopeList,
    scopes_of,
)
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.cli.secrets_in import read_secret
from grantledger.domain.requests import HandedOut, TokenRequest
from grantledger.domain.values import AccessToken, GrantKey


def token(
    provider: ProviderName,
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="SUBJECT",
            help="The user; left out with --subject-token-stdin, which names one.",
            show_default=False,
        ),
    ] = None,
    label: Label = DEFAULT_LABEL,
    scope: ScopeList = None,
    audience: Annotated[
        str | None, typer.Option(help="Whom the token is for.", show_default=False)
    ] = None,
    min_ttl: Annotated[
        float, typer.Option(help="How many seconds it must still live.")
    ] = 0.0,
    reason: Annotated[
        str | None, typer.Option(help="Why, in words; stored sealed.")
    ] = None,
    caller: Annotated[
        str | None,
        typer.Option(help="Ask as this service; you by default.", show_default=False),
    ] = None,
    *,
    subject_token_stdin: Annotated[
        bool,
        typer.Option(
            "--subject-token-stdin",
            help="Exchange the session token on standard input (RFC 8693).",
        ),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Print an access token, and nothing else, on standard output."""
    scopes = scopes_of(scope)
    who = caller_named(caller)
    if subject_token_stdin:
        if subject is not None or min_ttl or reason or label != DEFAULT_LABEL:
            raise typer.BadParameter(
                "SUBJECT, --label, --min-ttl and --reason do not go with "
                "--subject-token-stdin"
            )
        session = AccessToken(read_secret("Session token", "subject_token"))

        async def exchange(opened: OpenBroker) -> HandedOut:
            return await opened.broker.exchange_session(
                who, provider, session, scopes=scopes, audience=audience
            )

        _print(with_broker(config, exchange), as_json=as_json)
        return
    if subject is None:
        raise typer.BadParameter("SUBJECT is missing")
    request = TokenRequest(
        GrantKey(provider, subject, label), scopes, audience, min_ttl, reason
    )
    handed = with_broker(config, lambda opened: opened.broker.hand_out(who, request))
    _print(handed, as_json=as_json)


def _print(handed: HandedOut, *, as_json: bool) -> None:
    access_token = handed.access_token.reveal()
    if not as_json:
        output.write(access_token)
        return
    output.write_json(
        {
            "access_token": access_token,
            "token_type": handed.token_type,
            "expires_at": handed.expires_at,
            "scopes": handed.scopes,
            "audience": handed.audience,
            "source": handed.source,
            "grant_id": handed.grant_id,
            "generation": handed.generation,
            "request_id": handed.request_id,
        }
    )
