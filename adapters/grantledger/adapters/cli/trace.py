"""`grantledger trace`: what a token was, who holds it, and what has to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated
from uuid import UUID

import typer
from rich.console import RenderableType
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.bootstrap.tracing import Asked, Traced, trace_token
from grantledger.adapters.cli import output
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.cli.secrets_in import read_secret
from grantledger.adapters.cli.times import time_of
from grantledger.adapters.cli.views import grant_name
from grantledger.adapters.http.shown_trace import trace_data
from grantledger.domain.values import AccessToken, TokenFingerprint
from grantledger.projections.trace import GrantTrace, Life, TracedToken

_STYLES = {
    Life.IN_USE: "bold red",
    Life.LIVE: "bold red",
    Life.ASIDE: "red",
    Life.UNCONFIRMED: "yellow",
    Life.REPLACED: "dim",
    Life.EXPIRED: "dim",
    Life.CONFIRMED_DEAD: "green",
}
NOTHING = "No grant of this ledger has recorded such a token."


def trace(
    fingerprint: Annotated[
        str | None,
        typer.Option(help="Of the token, under any key.", show_default=False),
    ] = None,
    jti: Annotated[
        str | None, typer.Option(help="Of a JWT.", show_default=False)
    ] = None,
    grant_id: Annotated[
        UUID | None,
        typer.Option("--grant", help="All tokens of this one.", show_default=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--from", help="Holders since then only, RFC 3339.", show_default=False
        ),
    ] = None,
    near: Annotated[
        int | None,
        typer.Option(
            help="Read so many of its grant's events before it, and not all.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Trace a token, read from standard input unless another way is named."""
    token = None
    if fingerprint is None and jti is None and grant_id is None:
        token = AccessToken(read_secret("Token", "token"))
    asked = Asked(
        token=token,
        fingerprint=None if fingerprint is None else TokenFingerprint(fingerprint),
        jti=jti,
        grant_id=grant_id,
        since=time_of(since, "from"),
        near=near,
    )

    async def work(opened: OpenBroker) -> Traced:
        await opened.ledger.complete_tokens()
        return await trace_token(opened, local_caller(), asked)

    found = with_broker(config, work, tend=False)
    output.show(as_json, trace_data(found), *_views(found))


def _views(found: Traced) -> Iterator[RenderableType]:
    if not found.grants:
        yield Text(NOTHING)
    if found.found_by == "jti":
        yield Text("Found by its jti: nobody has checked its signature.", style="dim")
    for one in found.grants:
        yield from _grant(one)


def _grant(one: GrantTrace) -> Iterator[RenderableType]:
    state = one.grant
    yield output.facts(
        [
            ("grant", grant_name(state)),
            ("id", f"{state.grant_id}, {state.status}, generation {state.generation}"),
            ("opens", _opens(one)),
            ("live", _live(one)),
        ]
    )
    if one.read_after is not None:
        yield Text(
            f"Read from leaf {one.read_after + 1} on: of before, ancestors, suspected"
            " reuse, and hand-outs of other tokens to who breaks are left out.",
            style="dim",
        )
    yield _tokens(one)
    if one.holders:
        yield _holders(one)
    if not one.must_end:
        yield Text("Nothing that is known of it has to be ended.")
        return
    yield Text(f"To end: {_names(one.must_end)}", style="bold")
    yield Text(f"  grantledger incident revoke --dry-run --grant {state.grant_id}")
    for lost in one.breaks:
        until = output.utc(lost.live_until)
        yield Text(
            f"  {output.plain(lost.caller)} breaks: {lost.live} live tokens until"
            f" {until}, last hand-out {output.utc(lost.last_at)}"
        )


def _opens(one: GrantTrace) -> str:
    said = [" ".join(one.reach.scopes) or "no scope is known"]
    targets = (*one.reach.audiences, *one.reach.resources)
    said += [f"at {' '.join(targets)}"] if targets else []
    more = sorted(set(one.reach.obtainable) - set(one.reach.scopes))
    said += [f"and may still obtain {' '.join(more)}"] if more else []
    return output.plain("; ".join(said))


def _live(one: GrantTrace) -> Text:
    if not one.live:
        return Text("none of it", style="green")
    until = "no end is known" if one.endless else output.utc(one.live_until)
    return Text(f"{_names(one.live)}, until {until}", style="bold red")


def _tokens(one: GrantTrace) -> RenderableType:
    table = output.table("leaf", "token", "relation", "came", "life", "until", "scopes")
    groups: tuple[tuple[str, Sequence[TracedToken]], ...] = (
        ("ancestor", tuple(reversed(one.ancestors))),
        ("asked for", one.traced),
        ("descendant", one.descendants),
    )
    for relation, tokens in groups:
        for traced in tokens:
            token = traced.token
            table.add_row(
                str(token.id.leaf_index),
                _name(traced),
                Text(relation, style="bold" if relation == "asked for" else ""),
                Text(token.how),
                Text(traced.life.replace("_", " "), style=_STYLES[traced.life]),
                output.utc(token.expires_at),
                Text(" ".join(token.scopes)),
            )
    return table


def _holders(one: GrantTrace) -> RenderableType:
    table = output.table("caller", "for", "address", "agent", "times", "first", "last")
    for holder in one.holders:
        table.add_row(
            Text(output.plain(holder.caller)),
            Text(output.plain(" ".join(holder.act_chain))),
            Text(output.plain(holder.address or "-")),
            Text(output.plain(holder.agent or "-")),
            str(holder.times),
            output.utc(holder.first_at),
            output.utc(holder.last_at),
        )
    return table


def _names(tokens: Sequence[TracedToken]) -> str:
    return ", ".join(_name(token) for token in tokens)


def _name(traced: TracedToken) -> str:
    letter = traced.token.id.kind[0].upper()
    return f"{letter}:{output.short(traced.token.fingerprint)}"
