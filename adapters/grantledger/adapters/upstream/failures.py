"""Every answer that is no token answer, as one of the domain's failure classes.

Three rules decide what the texts below do not say outright. A status by which a
server declares that it did not process the request (429, 503) is safe to repeat.
Any other 5xx may come from a gateway in front of a server that has already
rotated, so it is ambiguous. A redirect is a wrong setting, never a success.

Nothing here writes a log; a description is stripped of the secrets that were
sent, because servers quote them back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import cast
from urllib.parse import quote, quote_plus

from grantledger.adapters.upstream.http import HttpAnswer, TransportFailure
from grantledger.domain.answers import UpstreamFailure
from grantledger.domain.values import FailureClass

MAX_RETRY_AFTER_SECONDS = 300.0
MAX_DESCRIPTION = 500
_MAX_ERROR = 64
_DIGITS_READ = 18

OAUTH_ERRORS: Mapping[str, FailureClass] = {
    # RFC 6749 section 5.2
    "invalid_grant": FailureClass.INVALID_GRANT,
    "invalid_client": FailureClass.INVALID_CLIENT,
    "unauthorized_client": FailureClass.INVALID_CLIENT,
    "invalid_scope": FailureClass.INVALID_SCOPE,
    "unsupported_grant_type": FailureClass.UNSUPPORTED,
    "invalid_request": FailureClass.MISCONFIGURED,
    # RFC 8707 section 2, RFC 8693 section 2.2.2
    "invalid_target": FailureClass.INVALID_TARGET,
    # RFC 7009 section 2.2.1
    "unsupported_token_type": FailureClass.UNSUPPORTED,
    # RFC 8628 section 3.5, RFC 6749 section 4.1.2.1, seen at token endpoints too
    "slow_down": FailureClass.RATE_LIMITED,
    "temporarily_unavailable": FailureClass.TRANSIENT,
    "server_error": FailureClass.AMBIGUOUS,
    # Nextcloud's OIDC app: the registered client's own life is over
    "expired_client": FailureClass.EXPIRED_CLIENT,
    # OpenID Connect Core section 3.1.2.6: the user must come back
    "interaction_required": FailureClass.INVALID_GRANT,
    "login_required": FailureClass.INVALID_GRANT,
    "consent_required": FailureClass.INVALID_GRANT,
    # RFC 6750 section 3.1: a registration access token that is not (any more) good
    "invalid_token": FailureClass.INVALID_CLIENT,
}

_BY_STATUS: Mapping[int, tuple[FailureClass, str]] = {
    401: (FailureClass.INVALID_CLIENT, "unauthorized"),
    404: (FailureClass.MISCONFIGURED, "not_found"),
    405: (FailureClass.MISCONFIGURED, "method_not_allowed"),
    # The server says that it did not have, or did not take up, the request.
    425: (FailureClass.TRANSIENT, "too_early"),
    429: (FailureClass.RATE_LIMITED, "rate_limited"),
    503: (FailureClass.TRANSIENT, "service_unavailable"),
    # A proxy may say this after it has passed the request on.
    408: (FailureClass.AMBIGUOUS, "request_timeout"),
}
_SUCCESS, _REDIRECTION, _SERVER_ERROR = 2, 3, 5
_BY_HUNDRED: Mapping[int, tuple[FailureClass, str]] = {
    _REDIRECTION: (FailureClass.MISCONFIGURED, "redirected"),
    4: (FailureClass.MISCONFIGURED, "refused_without_error"),
    _SERVER_ERROR: (FailureClass.AMBIGUOUS, "server_error"),
}
_UNREADABLE = (FailureClass.AMBIGUOUS, "unreadable_answer")
_NOT_PROCESSED = {"temporarily_unavailable": FailureClass.TRANSIENT}
_STATUS_WINS = frozenset({429, 503})
"""Said by whatever stands in front, so the body's code is not the server's word."""


def read_object(body: bytes) -> dict[str, object] | None:
    """Return the JSON object in `body`, None when it is none; never raises.

    More is taken than the grammar allows (NaN, numbers of any length, a byte order
    mark, stray bytes inside a string): a slip in one field must not cost the
    refresh token in another.
    """
    try:
        text = body.decode("utf-8-sig", errors="surrogateescape")
        value: object = json.loads(text, parse_int=_bounded_int)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def _bounded_int(digits: str) -> int | float:
    # Python refuses to parse thousands of digits; such a number is merely large.
    return int(digits) if len(digits) <= _DIGITS_READ else float(digits[:300])


def not_sent(
    error: str,
    description: str = "",
    failure: FailureClass = FailureClass.TRANSIENT,
) -> UpstreamFailure:
    """Return the failure of a request of which no byte left this process."""
    return UpstreamFailure(failure, False, error, description)


def of_transport(broken: TransportFailure) -> UpstreamFailure:
    """Return what a request without a complete answer means."""
    failure = FailureClass.AMBIGUOUS if broken.sent else FailureClass.TRANSIENT
    return UpstreamFailure(failure, broken.sent, broken.error, status=broken.status)


def of_answer(
    answer: HttpAnswer, now: datetime, secrets: Iterable[str] = ()
) -> UpstreamFailure:
    """Return what an answer means that is not the one hoped for.

    Also takes 2xx answers: with a code in the body it is the code's meaning (some
    servers answer 200 with `error`), without one it is ambiguous.

    Args:
        answer: status, headers and bounded body.
        now: aware UTC, for a Retry-After that names a date.
        secrets: what was sent; struck out of the server's words.
    """
    body = read_object(answer.body) or {}
    said = body.get("error")
    code = _word(said, secrets) if isinstance(said, str) else ""
    words = body.get("error_description")
    failure, error = _classify(answer, code)
    return UpstreamFailure(
        failure,
        sent=True,
        error=error,
        description=clean(words, secrets) if isinstance(words, str) else "",
        status=answer.status,
        retry_after=_retry_after(answer, now, failure),
    )


def _classify(answer: HttpAnswer, code: str) -> tuple[FailureClass, str]:
    status = answer.status
    said_by_status = _BY_STATUS.get(status)
    if said_by_status is None:
        said_by_status = _BY_HUNDRED.get(status // 100, _UNREADABLE)
    if status in _STATUS_WINS or status // 100 == _REDIRECTION:
        meaning = None
    elif status // 100 == _SERVER_ERROR:
        # A code in a 5xx is believed only when it says that nothing was done.
        meaning = _NOT_PROCESSED.get(code)
    else:
        meaning = OAUTH_ERRORS.get(code)
    if meaning is not None:
        return meaning, code
    failure, error = said_by_status
    readable = status // 100 not in {_SUCCESS, _REDIRECTION}
    return failure, (code if readable and code else error)


def of_revocation(
    answer: HttpAnswer, now: datetime, secrets: Iterable[str] = ()
) -> UpstreamFailure | None:
    """Return None when the server confirmed, else what the answer means.

    Only 200 and 204 confirm: 202 promises, and a redirect to a login page is no
    word of the revocation endpoint (RFC 7009 section 2.2). After a 503 the token
    is assumed to live (section 2.2.1).
    """
    if answer.status in {200, 204}:
        return None
    return of_answer(answer, now, secrets)


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` on one line, without `secrets`, of at most 500 characters."""
    for secret in secrets:
        for form in {secret, quote(secret, safe=""), quote_plus(secret)} - {""}:
            text = text.replace(form, "***")
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:MAX_DESCRIPTION]


def _word(code: str, secrets: Iterable[str]) -> str:
    """Return an error code fit to be stored in clear, else a word of our own."""
    if code in OAUTH_ERRORS:
        return code
    tame = all(c.isascii() and (c.isalnum() or c in "_-.") for c in code)
    if 0 < len(code) <= _MAX_ERROR and tame and clean(code, secrets) == code:
        return code
    return "unreadable_error"


def _retry_after(
    answer: HttpAnswer, now: datetime, failure: FailureClass
) -> float | None:
    """Return Retry-After in seconds from 0 to 300, None when unreadable.

    Source: RFC 9110 section 10.2.3: delta-seconds or an HTTP date.
    """
    if failure not in {FailureClass.RATE_LIMITED, FailureClass.TRANSIENT}:
        return None
    value = answer.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:_DIGITS_READ]), MAX_RETRY_AFTER_SECONDS)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return min(max((when - now).total_seconds(), 0.0), MAX_RETRY_AFTER_SECONDS)
