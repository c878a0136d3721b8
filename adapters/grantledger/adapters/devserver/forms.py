"""Reading what a client sent to the token, revocation and introspection endpoints.

Profile A takes what PHP takes; B and G insist on the form of RFC 6749.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import msgspec
from starlette.requests import Request

from grantledger.adapters.devserver.errors import OAuthError

Pairs: TypeAlias = list[tuple[str, str]]
"""Form fields in the order sent, names repeated as sent."""

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Call:
    """One request by a client.

    Attributes:
        pairs: all parameters as sent.
        parameters: one value per name: the last, as PHP does. Empty values count
            as absent (RFC 6749 section 3.2).
        basic: id and secret of an HTTP Basic header, or None.
        source: the peer's address.
        issuer: the issuer that the request's host makes.
    """

    pairs: Pairs = field(repr=False)
    parameters: dict[str, str] = field(repr=False)
    basic: tuple[str, str] | None = field(repr=False)
    source: str
    issuer: str

    def get(self, name: str) -> str | None:
        """Return a parameter, or None."""
        return self.parameters.get(name)

    def need(self, name: str) -> str:
        """Return a parameter.

        Raises:
            OAuthError: `invalid_request`, it is missing.
        """
        value = self.parameters.get(name)
        if value is None:
            raise OAuthError("invalid_request", f"Missing parameter: {name}.")
        return value


def issuer_of(request: Request) -> str:
    """Return the issuer, which follows the request's host (Nextcloud OIDC 2.0.9)."""
    return f"{request.url.scheme}://{request.url.netloc}"


def media_type(request: Request) -> str:
    """Return the request's media type, lower case and without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_call(request: Request, *, lenient: bool) -> Call:
    """Read a request without judging it; `check_form` does.

    Args:
        request: a POST.
        lenient: also take a JSON object, as Nextcloud's framework does.
    """
    body = await request.body()
    if lenient and media_type(request) == "application/json":
        pairs = _json_pairs(body)
    else:
        text = body.decode("utf-8", "replace")
        pairs = parse_qsl(text, keep_blank_values=True)
    return Call(
        pairs=pairs,
        parameters={name: value for name, value in pairs if value},
        basic=_basic(request.headers.get("authorization", "")),
        source=request.client.host if request.client else "",
        issuer=issuer_of(request),
    )


def check_form(request: Request, call: Call) -> None:
    """Insist on a form body and on single parameters.

    Raises:
        OAuthError: `invalid_request`.

    Source: RFC 6749 section 3.2; Nextcloud OIDC 2.5.1, which makes no exception
        for `resource` and `audience`.
    """
    if media_type(request) != FORM:
        raise OAuthError("invalid_request", f"The body must be {FORM}.")
    counts = Counter(name for name, _ in call.pairs)
    if any(count > 1 for count in counts.values()):
        raise OAuthError("invalid_request", "Parameters must not be repeated.")


def split_scope(text: str | None) -> tuple[str, ...]:
    """Return the scopes in `text`, each once, in order (RFC 6749 section 3.3)."""
    return tuple(dict.fromkeys((text or "").split()))


def is_absolute_uri(text: str) -> bool:
    """Return whether `text` is an absolute URI without fragment (RFC 3986)."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme and (parts.netloc or parts.path)) and "#" not in text


def _json_pairs(body: bytes) -> Pairs:
    try:
        decoded = msgspec.json.decode(body, type=dict[str, object])
    except msgspec.DecodeError:
        return []
    return [(name, value) for name, value in decoded.items() if isinstance(value, str)]


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    name, _, secret = text.partition(":")
    return unquote_plus(name), unquote_plus(secret)
