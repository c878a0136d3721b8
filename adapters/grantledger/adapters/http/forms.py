"""What the token endpoints read out of requests: scopes, targets, single values."""

from __future__ import annotations

import re

from grantledger.domain.errors import InvalidScope, InvalidTarget
from grantledger.domain.values import Scopes, parse_scopes

Form = dict[str, list[str]]
MAX_TARGET_LENGTH = 2048

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!\"$-~]+")


def scopes(said: list[str] | str) -> Scopes:
    """Return scopes, sorted.

    Raises:
        InvalidScope: one has a character outside RFC 6749 section 3.3.
    """
    try:
        return parse_scopes(said)
    except ValueError as cause:
        raise InvalidScope(str(cause)) from None


def target(audience: str | None, resource: str | None) -> str | None:
    """Return where a token is meant for; either word names it.

    Raises:
        InvalidTarget: they name two.
    """
    if audience is not None and resource is not None and audience != resource:
        raise InvalidTarget("name an audience or a resource, not both", "resource")
    return audience or resource


def one(form: Form, name: str) -> str | None:
    """Return the value of a name that stands once, None where it does not stand."""
    return form[name][0] if name in form else None


def target_of(form: Form) -> str | None:
    """Return where the token is meant for (RFC 8707 section 2).

    Raises:
        InvalidTarget: several are named, or the resource is no absolute URI without
            a fragment.
    """
    for name in ("audience", "resource"):
        if len(form.get(name, ())) > 1:
            raise InvalidTarget(f"one {name} at a time", name)
    resource = one(form, "resource")
    if resource is not None and (
        len(resource) > MAX_TARGET_LENGTH or _ABSOLUTE.fullmatch(resource) is None
    ):
        raise InvalidTarget(
            "resource must be an absolute URI without a fragment, of "
            f"{MAX_TARGET_LENGTH} characters at most",
            "resource",
        )
    return target(one(form, "audience"), resource)
