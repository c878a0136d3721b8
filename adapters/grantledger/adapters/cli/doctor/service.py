"""Checks of the service's settings: who may call, who can, and how it is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from ipaddress import ip_address

from grantledger.adapters.cli.doctor.findings import Finding, warning, well, wrong
from grantledger.adapters.settings import Settings
from grantledger.adapters.settings.listening import address
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.policy import ANY, CallerRule


def check_callers(settings: Settings) -> list[Finding]:
    """Tell whether somebody may have something, and can prove who he is."""
    said = settings.file
    if not said.http.issuers and not said.http.clients:
        return [well("callers", "no caller over HTTP is configured")]
    if not settings.has_policy:
        nobody = ConfigurationError(
            "callers: callers can prove who they are, and none may have anything",
            "callers",
        )
        return [wrong("callers", nobody, "add a rule: [[callers]]")]
    clients = {client.id for client in said.http.clients}
    issuers = {one.name: one.subject_claim is not None for one in said.http.issuers}
    try:
        rules = settings.policy.rules
    except ConfigurationError as error:
        return [wrong("callers", error)]
    found = check_rules(rules, clients, issuers)
    return found or [well("callers", f"{len(rules)} rules, each somebody's")]


def check_rules(
    rules: Sequence[CallerRule], clients: AbstractSet[str], issuers: Mapping[str, bool]
) -> list[Finding]:
    """Tell which rules are nobody's, everybody's, or never apply.

    Args:
        rules: the policy's.
        clients: ids of callers with a secret.
        issuers: names that begin the ids of callers with a token, and whether their
            tokens name a user.
    """
    ruled = {rule.caller for rule in rules}
    lost = {
        name
        for name in ruled - {ANY} - clients
        if name.partition(":")[0] not in {*issuers, "cli"}
    }
    return [
        *(
            warning(
                "callers",
                f"the rule of {name!r} is nobody's over HTTP: no client and no issuer "
                "has that name",
                "name a client's id, or issuer:claim",
            )
            for name in sorted(lost)
        ),
        *(
            warning(
                "callers",
                f"client {name!r} may have nothing: no rule names it",
                f'add [[callers]] with id = "{name}", or take the client out',
            )
            for name in sorted(clients - ruled if ANY not in ruled else ())
        ),
        *(
            warning(
                "callers",
                "a rule gives every caller every user's tokens",
                "name callers, or at least providers and subjects",
            )
            for rule in rules
            if rule.caller == ANY
            and not (rule.providers or rule.subjects or rule.self_only)
        ),
        *(
            warning(
                "callers",
                f"the rule of {rule.caller!r} is for the user who brings a token, and "
                "its own names none: it has what it exchanges at /oauth/token, no more",
                "set subject_claim of its issuer, or name subjects",
            )
            for rule in rules
            if rule.self_only and not _brings_users(rule.caller, issuers)
        ),
    ]


def _brings_users(caller: str, issuers: Mapping[str, bool]) -> bool:
    if caller == ANY:
        return any(issuers.values())
    return issuers.get(caller.partition(":")[0], False)


def check_listen(settings: Settings) -> list[Finding]:
    """Tell whether tokens would cross a network in the clear."""
    http = settings.file.http
    found: list[Finding] = []
    for field, said in (
        ("http.listen", http.listen),
        ("http.metrics_listen", http.metrics_listen),
        ("worker.metrics_listen", settings.file.worker.metrics_listen),
    ):
        if said is None:
            continue
        try:
            host, _ = address(said, field)
        except ConfigurationError as error:
            found.append(wrong(field, error))
            continue
        if _loopback(host):
            found.append(well(field, f"{said} is reached from this machine alone"))
            continue
        todo = "put a proxy with TLS before it, and let only that reach it"
        found.append(
            warning(field, f"{said} is reached from elsewhere, in clear", todo)
        )
    return found


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
