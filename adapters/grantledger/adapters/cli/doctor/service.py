"""Checks of the service's settings: who may call, who can, and how it is reached."""

from __future__ import annotations

from ipaddress import ip_address

from grantledger.adapters.cli.doctor.findings import Finding, warning, well, wrong
from grantledger.adapters.settings import Settings
from grantledger.adapters.settings.listening import address
from grantledger.domain.errors import ConfigurationError


def check_callers(settings: Settings) -> list[Finding]:
    """Tell whether somebody may have something, and can prove who he is."""
    said = settings.file
    if not said.http.issuers and not said.http.clients:
        return [well("callers", "no caller over HTTP is configured")]
    if not said.callers:
        nobody = ConfigurationError(
            "callers: callers can prove who they are, and none may have anything",
            "callers",
        )
        return [wrong("callers", nobody, "add a rule: [[callers]]")]
    names = {client.id for client in said.http.clients}
    issuers = {issuer.name for issuer in said.http.issuers}
    ruled = {rule.id for rule in said.callers}
    lost = sorted(
        name
        for name in ruled
        if name not in names and name.partition(":")[0] not in issuers
    )
    found = [
        warning(
            "callers",
            f"the rule of {name!r} is nobody's: no client and no issuer has that name",
            "name a client's id, or issuer:claim",
        )
        for name in lost
    ]
    found += [
        warning(
            "callers",
            f"client {name!r} may have nothing: no rule names it",
            f'add [[callers]] with id = "{name}", or take the client out',
        )
        for name in sorted(names - ruled)
    ]
    empty = [rule.id for rule in said.callers if not rule.providers]
    found += [
        warning(
            "callers",
            f"the rule of {name!r} names no provider: it allows nothing",
            "name its providers",
        )
        for name in empty
    ]
    return found or [well("callers", f"{len(ruled)} callers have rules")]


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
