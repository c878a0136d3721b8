"""`grantledger policy`: what the policy says, before anybody meets it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from grantledger.adapters.cli import output
from grantledger.adapters.cli.exits import MEANINGS
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.settings import load
from grantledger.adapters.settings.edge import RESERVED_ISSUERS
from grantledger.adapters.settings.policy_file import read_policy
from grantledger.domain.errors import Denied, InvalidScope
from grantledger.domain.explaining import Question, explain
from grantledger.domain.policy import ANY, CallerRule, Operation, Policy
from grantledger.domain.requests import Caller
from grantledger.domain.values import parse_scopes

app = typer.Typer(name="policy", help="What callers may do.", no_args_is_help=True)


@app.command("check")
def check(
    file: Annotated[
        Path | None,
        typer.Argument(help="Of the settings by default.", show_default=False),
    ] = None,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Read a policy as the service would; say what is wrong, or what it holds."""
    settings = load(config)
    policy = (
        settings.policy if file is None else read_policy(file, settings.file.providers)
    )
    warnings = list(_warnings(policy, {i.name for i in settings.file.http.issuers}))
    roles = Counter(role for rule in policy.rules for role in rule.roles)
    data = {
        "version": policy.version,
        "rules": len(policy.rules),
        "roles": {str(role): number for role, number in sorted(roles.items())},
        "warnings": warnings,
    }
    lines = [Text(f"policy {policy.version}: {len(policy.rules)} rules")]
    lines += [Text(f"{role}: {number} rules") for role, number in sorted(roles.items())]
    lines += [Text(f"warning: {words}", style="yellow") for words in warnings]
    output.show(as_json, data, *lines)


@app.command("explain")
def explain_one(
    caller: Annotated[str, typer.Option(help="Its id, such as idp:nightly.")],
    provider: Annotated[str, typer.Option()],
    subject: Annotated[str, typer.Option(help="The user's id at the provider.")],
    operation: Annotated[
        Operation | None,
        typer.Option(help="What it would do; a token by default.", show_default=False),
    ] = None,
    scope: Annotated[str, typer.Option(help="Space-delimited.")] = "",
    resource: Annotated[str | None, typer.Option(show_default=False)] = None,
    user: Annotated[
        str | None,
        typer.Option(
            help="Whose own token the request would bring.", show_default=False
        ),
    ] = None,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Tell whether the policy lets a caller do something, and which rule decides."""
    settings = load(config)
    try:
        scopes = parse_scopes(scope)
    except ValueError as cause:
        raise InvalidScope(str(cause), "scope") from None
    providers = frozenset({provider}) if user is not None else frozenset[str]()
    if operation is None and provider in settings.file.providers:
        # What a request that names nothing asks for.
        said = settings.file.providers[provider]
        scopes = scopes or parse_scopes(said.default_scopes)
        resource = resource or said.audience
    policy = settings.policy
    found = explain(
        policy,
        Question(
            Caller(caller, user=user, user_providers=providers),
            provider,
            subject,
            operation,
            scopes,
            resource,
        ),
    )
    data = {
        "allowed": found.allowed_by is not None,
        "rule": found.allowed_by,
        "version": found.version,
        "rules": [{"rule": f.number, "refusals": f.refusals} for f in found.findings],
    }
    if found.allowed_by is None:
        why = [f"rule {f.number}: {'; '.join(f.refusals)}" for f in found.findings]
        words = f"policy {found.version} does not allow this: "
        words += ". ".join(why) or f"no rule names {caller}"
        if as_json:
            output.write_json({"error": Denied.code, "message": words, **data})
            raise typer.Exit(MEANINGS[Denied].exit_code)
        raise Denied(words, "no_rule")
    output.show(
        as_json, data, Text(f"allowed by rule {found.allowed_by} of {found.version}")
    )


def _warnings(policy: Policy, issuers: set[str]) -> list[str]:
    found: list[str] = []
    if not policy.rules:
        found.append("there is no rule: nobody may do anything")
    for number, rule in enumerate(policy.rules):
        prefix, colon, _ = rule.caller.partition(":")
        if colon and prefix not in issuers | RESERVED_ISSUERS:
            found.append(f"rule {number}: no issuer is called {prefix}")
        if rule.caller == ANY and not rule.self_only and not rule.subjects:
            found.append(f"rule {number}: every caller, every user")
        if any(_within(rule, other) for other in policy.rules[:number]):
            found.append(f"rule {number}: an earlier rule allows all of it")
    return found


def _within(rule: CallerRule, other: CallerRule) -> bool:
    """Tell whether the other rule allows all that this one allows."""
    return (
        other.caller in (rule.caller, ANY)
        and _subset(rule.providers, other.providers)
        and _subset(rule.subjects, other.subjects)
        and _subset(rule.audiences, other.audiences)
        and (other.scopes is None or (rule.scopes or set()) <= other.scopes)
        and (other.scopes is None or rule.scopes is not None)
        and rule.roles <= other.roles
        and (rule.self_only or not other.self_only)
    )


def _subset(names: frozenset[str], others: frozenset[str]) -> bool:
    return not others or (bool(names) and names <= others)
