"""The caller of a request as the broker records it."""

from __future__ import annotations

from starlette.requests import Request

from grantledger.adapters.http.identity import (
    Authenticator,
    Identity,
    NotAuthenticatedError,
)
from grantledger.domain.requests import Caller

MAX_HEADER_LENGTH = 200


async def caller_of(request: Request, who: Authenticator) -> Caller:
    """Return the authenticated caller, with what the request says of its place.

    Raises:
        NotAuthenticatedError: nobody known calls, or two at once: of two headers a
            proxy might have looked at the other.
        Unavailable: the issuer's keys cannot be fetched now.
    """
    said = request.headers.getlist("authorization")
    if len(said) > 1:
        raise NotAuthenticatedError("invalid_request")
    found = await who.identity(said[0] if said else None)
    return described(request, found)


def described(request: Request, found: Identity) -> Caller:
    """Return the caller; what headers say is kept, and not believed."""
    caller = Caller(
        id=found.id,
        peer_ip=request.client.host if request.client else None,
        user_agent=_kept(request, b"user-agent"),
        correlation_id=_kept(request, b"x-request-id"),
        user=found.user,
        user_providers=found.user_providers,
        party=found.party,
        act_chain=found.party.prior if found.party else (),
    )
    request.scope["grantledger.caller"] = caller
    return caller


def known_caller(request: Request) -> Caller | None:
    """Return who was found to call, None where nobody was."""
    caller = request.scope.get("grantledger.caller")
    return caller if isinstance(caller, Caller) else None


def _kept(request: Request, name: bytes) -> str | None:
    for key, value in request.scope["headers"]:
        if key == name:
            text: str = value[:MAX_HEADER_LENGTH].decode("latin-1")
            if text.isprintable():
                return text
            return "".join(c if c.isprintable() else "?" for c in text)
    return None
