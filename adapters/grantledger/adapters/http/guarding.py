"""Every refusal of an endpoint in its own words, and in the ledger.

A handler raises; what it raises becomes a problem document, or an OAuth error. Where
the caller was known by then, the refusal is recorded before it is answered.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from grantledger.adapters.http import bodies, problems
from grantledger.adapters.http.callers import known_caller
from grantledger.adapters.http.identity import NotAuthenticatedError
from grantledger.adapters.http.service import Service
from grantledger.adapters.telemetry.logs import place_of
from grantledger.domain.errors import GrantledgerError, InvalidRequest, LedgerError

Handler = Callable[[Request], Awaitable[Response]]

_log = logging.getLogger("grantledger.http")
_CHALLENGE = 'Bearer realm="grantledger"'
_WORDS = {404: "not_found", 405: "method_not_allowed"}
_BASIC = 'Basic realm="grantledger"'


def guarded(service: Service, handler: Handler, *, oauth: bool = False) -> Handler:
    """Return the handler with every refusal answered, and recorded.

    Args:
        service: whose ledger takes the record.
        handler: raises what it refuses for.
        oauth: answer as RFC 6749 section 5.2 says, not as RFC 9457.
    """

    async def answering(request: Request) -> Response:
        try:
            return await handler(request)
        except NotAuthenticatedError as error:
            return not_authenticated(error, oauth=oauth)
        except bodies.TooLargeError:
            words = "the body is longer than the limit"
            await _noted(service, request, InvalidRequest(words, "body"))
            return _refusal(413, "too_large", words, oauth=oauth)
        except bodies.WrongTypeError as error:
            words = f"the body must be {error}"
            await _noted(service, request, InvalidRequest(words, "body"))
            return _refusal(415, "wrong_type", words, oauth=oauth)
        except problems.OAuthRefusal as error:
            await _noted(service, request, InvalidRequest(str(error), error.field))
            return problems.oauth(error.code, str(error))
        except GrantledgerError as error:
            told(error)
            await _noted(service, request, error)
            return problems.oauth_of_error(error) if oauth else problems.of_error(error)

    async def guarding(request: Request) -> Response:
        try:
            return await answering(request)
        except GrantledgerError as error:
            # The refusal could not be recorded: that is what is told then.
            return problems.oauth_of_error(error) if oauth else problems.of_error(error)

    return guarding


def not_authenticated(error: NotAuthenticatedError, *, oauth: bool) -> Response:
    """Return the challenge (RFC 6750 section 3, RFC 6749 section 5.2)."""
    if oauth:
        return problems.oauth(
            "invalid_client", "authenticate", 401, {"WWW-Authenticate": _BASIC}
        )
    known = error.error not in {"missing", "invalid_client"}
    challenge = f'{_CHALLENGE}, error="{error.error}"' if known else _CHALLENGE
    return problems.problem(
        401,
        "not_authenticated",
        "authenticate",
        headers={"WWW-Authenticate": challenge},
    )


async def unexpected(_request: Request, error: Exception) -> Response:
    """Return the answer to what no handler expected; told by its kind alone."""
    noticed(error)
    return problems.problem(500, "unexpected", "a mistake of this service")


async def refused(_request: Request, error: Exception) -> Response:
    """Return the answer to a path or a method that there is not."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    word = _WORDS.get(status, "refused")
    return problems.problem(status, word, word.replace("_", " "), headers=headers)


def told(error: GrantledgerError) -> None:
    """Log an error that is the operator's business."""
    if isinstance(error, LedgerError):
        _log.error("a request failed: %s: %s", error.code, error)


def noticed(error: Exception) -> None:
    """Log a mistake of this service.

    Its words might hold a secret: kind and place are told, and here alone.
    """
    _log.error("a request failed: %s", place_of(error))


def _refusal(status: int, code: str, detail: str, *, oauth: bool) -> Response:
    if oauth:
        return problems.oauth("invalid_request", detail, status)
    return problems.problem(status, code, detail)


async def _noted(service: Service, request: Request, error: GrantledgerError) -> None:
    """Record the refusal of a caller that is known, once."""
    caller = known_caller(request)
    if caller is not None:
        await service.opened.broker.refused(caller, error)
