"""Request bodies and queries, read to a limit and parsed strictly.

A body that is too long, of another type, or that says one thing twice is refused
with the name of the field: what a proxy and this service could read differently is
not guessed at.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Generic, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from starlette.requests import Request

from grantledger.domain.errors import InvalidRequest

T = TypeVar("T")
MAX_FIELDS = 64
MAX_PARAMETERS = 32
MAX_KNOWN = 1024
MAX_KNOWN_BYTES = 1024
FORM = "application/x-www-form-urlencoded"
_FIRST = "grantledger.first_headers"
REPEATABLE = frozenset({"resource", "audience"})


class TooLargeError(Exception):
    """The body is longer than the limit."""


class WrongTypeError(Exception):
    """The body is of another media type than the endpoint takes."""


async def read(request: Request, limit: int) -> bytes:
    """Return the body.

    Raises:
        TooLargeError: it is longer than `limit` bytes, said or found.
        InvalidRequest: the caller went away before its end.
    """
    said = header(request, b"content-length")
    if said.isdigit() and int(said) > limit:
        raise TooLargeError
    body = bytearray()
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("the body ended early", "body")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            raise TooLargeError
    return bytes(body)


def media_type(request: Request) -> str:
    """Return the media type without parameters, in lower case; "" for none."""
    said = header(request, b"content-type")
    return said.partition(b";")[0].strip().lower().decode("latin-1")


def header(request: Request, name: bytes) -> bytes:
    """Return a header's value, the first where it stands twice; b"" for none."""
    return first_headers(request).get(name, b"")


def first_headers(request: Request) -> dict[bytes, bytes]:
    """Return the headers by name, of one that stands twice the first; made once."""
    scope = request.scope
    found: dict[bytes, bytes] | None = scope.get(_FIRST)
    if found is None:
        found = scope[_FIRST] = dict(reversed(scope["headers"]))
    return found


def query_of(request: Request) -> dict[str, str]:
    """Return the query; what stands twice could be read in two ways.

    Raises:
        InvalidRequest: a name stands twice, or there are too many.
    """
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError:
        raise InvalidRequest("the query is no UTF-8 text", "request") from None
    if len({name for name, _ in pairs}) != len(pairs):
        raise InvalidRequest("a parameter stands twice", "request")
    return dict(pairs)


class Known(Generic[T]):
    """Requests that were read before: callers ask for the same again and again.

    What is kept is what was read, never changed; of short ones only, and so many.
    """

    def __init__(self) -> None:
        self._read: OrderedDict[bytes, T] = OrderedDict()

    def get(self, sent: bytes) -> T | None:
        """Return what was read of these bytes, None where they are new."""
        return self._read.get(sent)

    def keep(self, sent: bytes, said: T) -> None:
        """Remember what they say."""
        if len(sent) <= MAX_KNOWN_BYTES:
            self._read[sent] = said
            while len(self._read) > MAX_KNOWN:
                self._read.popitem(last=False)


async def json_bytes(request: Request, limit: int) -> bytes:
    """Return a JSON body as it was sent; `{}` for one without a byte.

    Raises:
        TooLargeError, WrongTypeError: see there.
        InvalidRequest: the caller went away before its end.
    """
    body = await read(request, limit)
    if not body:
        return b"{}"
    if media_type(request) != "application/json":
        raise WrongTypeError("application/json")
    return body


def decoded(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Return what a JSON body says.

    Raises:
        InvalidRequest: it does not parse; names the field.
    """
    try:
        said = decoder.decode(body)
        json.loads(body, object_pairs_hook=once)
    except msgspec.ValidationError as cause:
        words, _, where = str(cause).partition(" - at `$")
        field = where.rstrip("`").lstrip(".") or "body"
        raise InvalidRequest(f"{field}: {words}", field) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("the body is no JSON object", "body") from None
    return said


def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object in which no name stands twice (RFC 8259 section 4).

    The decoder takes the last one, another reader may have taken the first.

    Raises:
        InvalidRequest: one does.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidRequest("a name stands twice in the body", "body")
    return found


async def form_of(request: Request, limit: int) -> dict[str, list[str]]:
    """Return the form's values by name, empty ones left out (RFC 6749 section 3.2).

    Raises:
        TooLargeError, WrongTypeError: see there.
        InvalidRequest: a name stands twice, or there are too many.
    """
    body = await read(request, limit)
    if media_type(request) != FORM:
        raise WrongTypeError(FORM)
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise InvalidRequest("the body is no form of UTF-8 text", "body") from None
    form: dict[str, list[str]] = {}
    for name, value in pairs:
        if name in form and name not in REPEATABLE:
            shown = name[:40] if name.isprintable() else "a name"
            raise InvalidRequest(f"{shown} stands twice", shown)
        form.setdefault(name, []).append(value)
    return {
        name: kept for name, all_ in form.items() if (kept := [v for v in all_ if v])
    }


def segments(request: Request) -> list[str]:
    """Return the path's segments, each decoded by itself.

    Decoded before it is split, `a%2Fb` would be two segments, and one user another.

    Raises:
        InvalidRequest: one is no UTF-8 text.
    """
    raw: bytes = request.scope.get("raw_path") or b""
    try:
        if b"%" not in raw:
            return raw.split(b"?")[0].strip(b"/").decode("utf-8").split("/")
        return [
            unquote_to_bytes(part).decode("utf-8")
            for part in raw.split(b"?")[0].strip(b"/").split(b"/")
        ]
    except UnicodeDecodeError:
        raise InvalidRequest("the path is no UTF-8 text", "path") from None
