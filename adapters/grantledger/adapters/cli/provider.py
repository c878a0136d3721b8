"""`grantledger provider`: which authorization servers there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.text import Text

from grantledger.adapters.bootstrap.providers import WiredProvider, wire
from grantledger.adapters.bootstrap.registered import unregistered
from grantledger.adapters.cli import output
from grantledger.adapters.cli.options import (
    Config,
    Json,
    ProviderName,
    ScopeList,
    scopes_of,
)
from grantledger.adapters.cli.provider_table import Addition, add_table
from grantledger.adapters.cli.secrets_in import read_secret
from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.settings import ProviderSettings, Settings, load
from grantledger.adapters.upstream.discovery import ServerMetadata
from grantledger.domain.answers import UpstreamFailure
from grantledger.domain.errors import (
    InvalidRequest,
    Unavailable,
    UpstreamRejected,
)
from grantledger.domain.values import FailureClass

app = typer.Typer(help="Authorization servers.", no_args_is_help=True)


@app.command("add")
def add(
    name: ProviderName,
    issuer: Annotated[str, typer.Option(help="Its issuer URL, as it says itself.")],
    client_id: Annotated[
        str | None, typer.Option(help="Of the registered client.", show_default=False)
    ] = None,
    preset: Annotated[
        str, typer.Option(help="nextcloud-2.5, nextcloud-2.0 or generic.")
    ] = "generic",
    client_secret_file: Annotated[
        Path | None, typer.Option(help="A file that holds the client's secret.")
    ] = None,
    auth_method: Annotated[
        str | None,
        typer.Option(
            help="client_secret_basic, client_secret_post, private_key_jwt or none."
        ),
    ] = None,
    scope: ScopeList = None,
    redirect_port: Annotated[
        int | None, typer.Option(help="Of `connect`'s callback.", min=0, max=65535)
    ] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(help="AUDIENCE=URI, for exchange by resource; repeatable."),
    ] = None,
    session_audience: Annotated[
        list[str] | None,
        typer.Option(help="Accepted in session tokens; the client id by default."),
    ] = None,
    *,
    client_secret_stdin: Annotated[
        bool,
        typer.Option(
            "--client-secret-stdin",
            help="Store the secret on standard input in a file of mode 0600.",
        ),
    ] = False,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Register a client (RFC 7591).")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Add an authorization server to the settings."""
    if client_secret_file is not None and client_secret_stdin:
        raise typer.BadParameter("name a file or standard input for the secret")
    if dynamic and (client_id or client_secret_file or client_secret_stdin):
        raise typer.BadParameter("a dynamic client has neither id nor secret before")
    if not dynamic and client_id is None:
        raise typer.BadParameter("--client-id is missing, or --dynamic")
    said: dict[str, object] = {
        "issuer": issuer,
        "preset": preset,
        "registration": "dynamic" if dynamic else None,
        "client_id": client_id,
        "client_secret_file": None
        if client_secret_file is None
        else str(client_secret_file.absolute()),
        "auth_method": auth_method,
        "scopes": list(scopes_of(scope)) or None,
        "redirect_port": redirect_port,
        "session_audiences": session_audience,
        "resources": dict(_pair(text) for text in resource or ()) or None,
    }
    secret = None
    if client_secret_stdin:
        secret = read_secret("Client secret", "client_secret")
    addition = Addition(name, {k: v for k, v in said.items() if v is not None}, secret)
    path = anyio.run(add_table, config, addition, check_wiring)
    output.show(
        as_json,
        {"provider": name, "config": path, "settings": addition.said},
        Text(f"Added {name} to {path}.\nNext: grantledger provider check {name}"),
    )


@app.command("list")
def list_providers(config: Config = None, *, as_json: Json = False) -> None:
    """Show the authorization servers of the settings."""
    providers = load(config).file.providers
    table = output.table("provider", "issuer", "preset", "client", "scopes")
    for name, said in sorted(providers.items()):
        table.add_row(
            *map(Text, (name, said.issuer, said.preset)),
            Text(said.client_id or said.registration),
            Text(" ".join(said.scopes)),
        )
    data = {"providers": [_data(n, p) for n, p in sorted(providers.items())]}
    people = table if providers else Text("No providers: grantledger provider add")
    output.show(as_json, data, people)


@app.command("check")
def check(name: ProviderName, config: Config = None, *, as_json: Json = False) -> None:
    """Ask a server for its metadata, and compare it with the settings."""
    found = anyio.run(_metadata, load(config), name)
    said = _said(found)
    rows = [
        (key.replace("_", " "), value if isinstance(value, str) else " ".join(value))
        for key, value in said.items()
    ]
    output.show(
        as_json,
        {"provider": name, "ok": True, **said},
        Text(f"{name} answers as configured."),
        output.facts(list(rows)),
    )


async def check_wiring(settings: Settings, name: str) -> None:
    """See that a provider can be used as it is set.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    await _wired(settings, name).http.aclose()


def _wired(settings: Settings, name: str) -> WiredProvider:
    providers = settings.file.providers
    if name not in providers:
        known = ", ".join(sorted(providers)) or "none"
        raise InvalidRequest(f"unknown provider {name!r}; known: {known}", "provider")
    # Registered when somebody connects; its metadata can be asked for before.
    stand_in = unregistered() if providers[name].registration == "dynamic" else None
    return wire(name, settings, SystemClock(), RandomIds(), stand_in)


async def _metadata(settings: Settings, name: str) -> ServerMetadata:
    wired = _wired(settings, name)
    try:
        found = await wired.discovery.metadata()
    finally:
        await wired.http.aclose()
    if not isinstance(found, UpstreamFailure):
        return found
    words = f"provider {name}: {found.error}"
    if found.failure in (
        FailureClass.TRANSIENT,
        FailureClass.RATE_LIMITED,
        FailureClass.AMBIGUOUS,
    ):
        raise Unavailable(words, found.retry_after or 1.0)
    raise UpstreamRejected(words, found.error)


def _said(found: ServerMetadata) -> dict[str, str | list[str]]:
    methods = found.token_endpoint_auth_methods_supported
    return {
        "issuer": found.issuer,
        "authorization_endpoint": found.authorization_endpoint or "",
        "token_endpoint": found.token_endpoint or "",
        "revocation_endpoint": found.revocation_endpoint or "",
        "registration_endpoint": found.registration_endpoint or "",
        "jwks_uri": found.jwks_uri or "",
        "scopes_supported": sorted(found.scopes_supported or ()),
        "grant_types_supported": sorted(found.grant_types_supported or ()),
        "auth_methods_supported": sorted(methods or ()),
    }


def _data(name: str, said: ProviderSettings) -> dict[str, object]:
    return {
        "provider": name,
        "issuer": said.issuer,
        "preset": said.preset,
        "registration": said.registration,
        "client_id": said.client_id,
        "scopes": said.scopes,
        "redirect_port": said.redirect_port,
        "resources": said.resources,
    }


def _pair(text: str) -> tuple[str, str]:
    audience, equals, uri = text.partition("=")
    if not equals or not audience or not uri:
        raise InvalidRequest(f"resource {text[:80]!r} is not AUDIENCE=URI", "resource")
    return audience, uri
