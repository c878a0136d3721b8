"""The claims `act` and `may_act` of a verified token (RFC 8693 section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from grantledger.adapters.upstream.signed import text
from grantledger.domain.delegation import MAX_ACTORS, MayAct
from grantledger.domain.errors import InvalidSubjectToken


def may_act(claims: Mapping[str, Any]) -> MayAct | None:
    """Return whom the token lets act, None where it does not say.

    A claim that is malformed lets nobody act.
    """
    if "may_act" not in claims:
        return None
    said = claims["may_act"]
    if not isinstance(said, dict):
        return MayAct()
    party = cast("dict[str, Any]", said)
    names = ("sub", "iss", "client_id")
    if any(name in party and text(party, name) is None for name in names):
        return MayAct()
    return MayAct(text(party, "sub"), text(party, "iss"), text(party, "client_id"))


def actors(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return who acts by the token, the current actor first, empty for nobody.

    Raises:
        InvalidSubjectToken: the claim is malformed, or the chain is too long.
    """
    found: list[str] = []
    said: object = claims.get("act")
    while said is not None:
        if not isinstance(said, dict) or len(found) == MAX_ACTORS:
            raise InvalidSubjectToken("the token's act claim is malformed or too deep")
        actor = cast("dict[str, Any]", said)
        name = text(actor, "sub") or text(actor, "client_id")
        if name is None or not name.isprintable():
            raise InvalidSubjectToken("an actor in the token has no name")
        issuer = text(actor, "iss")
        found.append(f"{issuer} {name}" if issuer else name)
        said = actor.get("act")
    return tuple(found)
