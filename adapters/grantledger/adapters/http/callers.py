"""The caller of a request as the broker records it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request

from grantledger.adapters.http.bodies import first_headers
from grantledger.adapters.http.edge import FORWARDED, ONE_WAY, Attempt, Edge, edge_of
from grantledger.adapters.http.identity import Authenticator, Identity
from grantledger.adapters.http.unauthenticated import NotAuthenticatedError
from grantledger.domain.delegation import ActingParty
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.requests import Caller
from grantledger.domain.values import ActorKind, Secret

MAX_HEADER_LENGTH = 200
MAX_DESCRIBED = 8
_TRACE = b"traceparent"


async def caller_of(request: Request, who: Authenticator) -> Caller:
    """Return the authenticated caller, with what the request says of its place.

    Raises:
        NotAuthenticatedError: nobody known calls.
        InvalidRequest: a certificate that cannot be believed, or two ways at once.
        RateLimited: this caller is over its rate.
        Unavailable: the issuer's keys cannot be fetched now.
    """
    headers, first = request.scope["headers"], first_headers(request)
    if len(first) == len(headers) and who.edge.headers_alone:
        # The usual one: a token that was verified before, and nothing stands twice.
        remembered = who.remembered(first.get(b"authorization", b""))
        if remembered is not None:
            return _admitted(request, who.edge, remembered)
    said = [value for name, value in headers if name == b"authorization"]

    async def proven(attempt: Attempt) -> Identity:
        brought = who.edge.caller_id(request)
        if brought is not None:
            name, way = brought
            party = ActingParty(name, subject=name, client_id=name)
            return Identity(name, way, party=party)
        if len(said) > 1:
            # Of two headers a proxy might have looked at the other.
            raise NotAuthenticatedError("invalid_request")
        text = said[0].decode("latin-1") if said else None
        return await who.identity(text, attempt)

    return await _tried(request, who.edge, proven)


async def caller_by_secret(
    request: Request, who: Authenticator, client_id: str | None, secret: Secret
) -> Caller:
    """Return the caller that proves itself in a form (RFC 6749 section 2.3.1).

    Raises:
        NotAuthenticatedError: nobody known calls.
        InvalidRequest: the request brings another way to authenticate as well.
        RateLimited: this caller is over its rate.
    """

    async def proven(attempt: Attempt) -> Identity:
        if "authorization" in request.headers or who.edge.caller_id(request):
            raise InvalidRequest(ONE_WAY, "client_secret")
        if client_id is None:
            raise NotAuthenticatedError("invalid_client")
        return await who.client(client_id, secret, attempt)

    return await _tried(request, who.edge, proven)


async def _tried(
    request: Request, edge: Edge, proven: Callable[[Attempt], Awaitable[Identity]]
) -> Caller:
    attempt = edge.attempt(request)
    try:
        found = await proven(attempt)
    except NotAuthenticatedError:
        attempt.failed()
        raise
    return _admitted(request, edge, found)


def _admitted(request: Request, edge: Edge, found: Identity) -> Caller:
    caller = described(request, found)
    edge.admit(found.id)
    return caller


def described(
    request: Request, found: Identity, kind: ActorKind = ActorKind.SERVICE
) -> Caller:
    """Return the caller; what headers say is kept, and not believed.

    One identity is of one kind.
    """
    address = edge_of(request).address(request)
    said = _said(request)
    beside = (address, *said)
    caller = found.callers.get(beside)
    if caller is None:
        agent, correlation, forwarded, trace = said
        caller = Caller(
            id=found.id,
            kind=kind,
            peer_ip=address,
            user_agent=_kept(agent),
            correlation_id=_kept(correlation),
            forwarded_for=_kept(forwarded),
            traceparent=_kept(trace),
            auth_method=found.method,
            user=found.user,
            user_providers=found.user_providers,
            party=found.party,
            act_chain=found.party.prior if found.party else (),
        )
        # A request's id is another each time; what is long is not kept.
        usual = correlation is trace is None and all(
            len(text or b"") <= MAX_HEADER_LENGTH for text in (agent, forwarded)
        )
        if usual and len(found.callers) < MAX_DESCRIBED:
            found.callers[beside] = caller
    request.scope["grantledger.caller"] = caller
    return caller


_Header = bytes | None


def _said(request: Request) -> tuple[_Header, _Header, _Header, _Header]:
    """Return user agent, request id, X-Forwarded-For and traceparent, as first sent."""
    said = first_headers(request).get
    return said(b"user-agent"), said(b"x-request-id"), said(FORWARDED), said(_TRACE)


def known_caller(request: Request) -> Caller | None:
    """Return who was found to call, None where nobody was."""
    caller = request.scope.get("grantledger.caller")
    return caller if isinstance(caller, Caller) else None


def _kept(value: bytes | None) -> str | None:
    if value is None:
        return None
    text = value[:MAX_HEADER_LENGTH].decode("latin-1")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in text)
