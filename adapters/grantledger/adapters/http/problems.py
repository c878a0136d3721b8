"""What each error is over HTTP: RFC 9457 problems, RFC 6749 section 5.2 for OAuth.

The only table of statuses; docs/callers.md shows it to people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from starlette.responses import Response

from grantledger.domain import errors
from grantledger.domain.errors import GrantledgerError

PROBLEM = "application/problem+json"
JSON = "application/json"
TYPE_PREFIX = "urn:grantledger:problem:"
LEDGER_RETRY_SECONDS = 60
_DETAILS = ("field", "reason")
_ENCODER = msgspec.json.Encoder()


class OAuthRefusal(Exception):
    """A refusal that has a word of its own on OAuth endpoints alone."""

    def __init__(self, code: str, description: str, field: str) -> None:
        super().__init__(description)
        self.code = code
        self.field = field


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error is to whoever called.

    Attributes:
        status: of the answer.
        oauth: the error code on an OAuth endpoint (RFC 6749 section 5.2, RFC 8693
            section 2.2.2, RFC 8707 section 2).
        oauth_status: of the answer there.
    """

    status: int
    oauth: str
    oauth_status: int = 400


MEANINGS: Mapping[type[GrantledgerError], Meaning] = {
    errors.NotProvisioned: Meaning(404, "invalid_grant"),
    errors.ReauthorizationRequired: Meaning(409, "invalid_grant"),
    errors.GrantRevoked: Meaning(410, "invalid_grant"),
    errors.Denied: Meaning(403, "unauthorized_client"),
    errors.LegalHoldInForce: Meaning(409, "invalid_request"),
    errors.InvalidRequest: Meaning(400, "invalid_request"),
    errors.InvalidScope: Meaning(400, "invalid_scope"),
    errors.InvalidTarget: Meaning(400, "invalid_target"),
    errors.InvalidSubjectToken: Meaning(400, "invalid_grant"),
    errors.UpstreamRejected: Meaning(502, "server_error", 502),
    errors.Unavailable: Meaning(503, "temporarily_unavailable", 503),
    errors.RateLimited: Meaning(429, "temporarily_unavailable", 429),
    errors.LedgerError: Meaning(500, "server_error", 500),
    errors.LedgerClosed: Meaning(503, "temporarily_unavailable", 503),
    errors.LedgerRestored: Meaning(503, "temporarily_unavailable", 503),
    errors.ConfigurationError: Meaning(500, "server_error", 500),
}
_MISSING = Meaning(404, "invalid_request")
_UNKNOWN = Meaning(500, "server_error", 500)


def meaning_of(error: GrantledgerError) -> Meaning:
    """Return what the error means, by its nearest known ancestor."""
    if isinstance(error, errors.InvalidRequest) and error.missing:
        return _MISSING
    for kind in type(error).__mro__:
        if kind in MEANINGS:
            return MEANINGS[kind]
    return _UNKNOWN


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **more: object,
) -> Response:
    """Return a problem document (RFC 9457 section 3)."""
    body = {
        "type": TYPE_PREFIX + code,
        "title": code.replace("_", " "),
        "status": status,
        "detail": detail,
        **more,
    }
    return Response(_ENCODER.encode(body), status, headers, PROBLEM)


def of_error(error: GrantledgerError) -> Response:
    """Return the problem that an error is.

    What is wrong inside this service is named by its kind alone: it is the
    operator's business, and stands in the log.
    """
    meaning = meaning_of(error)
    more: dict[str, object] = {
        name: str(value)
        for name in _DETAILS
        if (value := getattr(error, name, None)) is not None
    }
    return problem(
        meaning.status, error.code, _said(error), headers=retry_after(error), **more
    )


def oauth(
    code: str,
    description: str,
    status: int = 400,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an OAuth error (RFC 6749 section 5.2)."""
    body = {"error": code, "error_description": _in_charset(description)}
    return Response(_ENCODER.encode(body), status, headers, JSON)


def oauth_of_error(error: GrantledgerError) -> Response:
    """Return the OAuth error that an error is."""
    meaning = meaning_of(error)
    return oauth(meaning.oauth, _said(error), meaning.oauth_status, retry_after(error))


def _said(error: GrantledgerError) -> str:
    inside = isinstance(error, errors.LedgerError | errors.ConfigurationError)
    return "the service cannot do this now" if inside else str(error)


def retry_after(error: GrantledgerError) -> Mapping[str, str]:
    """Return the header that says when to come again, none where that is unknown."""
    if isinstance(error, errors.Unavailable):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    if isinstance(error, errors.LedgerClosed | errors.LedgerRestored):
        # An operator has to act first; another replica may be well.
        return {"Retry-After": str(LEDGER_RETRY_SECONDS)}
    return {}


def _in_charset(text: str) -> str:
    """Return the text in the characters that RFC 6749 section 5.2 allows."""
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "'" for c in text)
