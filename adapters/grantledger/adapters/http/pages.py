"""The few pages that a person sees: no scripts, no styles, nothing from elsewhere.

Every answer of the service forbids browsers the rest (see `app`).
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from starlette.responses import HTMLResponse, Response

from grantledger.adapters.http import problems
from grantledger.domain.errors import (
    GrantledgerError,
    InvalidRequest,
    InvalidSubjectToken,
    Unavailable,
)

_START = "Start again from the application that sent you here."
_WORDS = {
    "state": f"This answer is not one that this browser waits for. {_START}",
    "iss": "The answer names another server than the one that was asked. "
    f"Nothing was stored. {_START}",
    "consent": "Consent was not given, so nothing was stored.",
    "code": f"The server's answer is incomplete. {_START}",
    "refresh_token": "The server gave no lasting access, so nothing was stored. "
    "Its operator has to allow offline access.",
    "provider": "There is no provider of this name here.",
    "label": "The label is empty or too long.",
    "return_to": "The application asked to be returned to an address that is not "
    "registered here.",
}


def page(status: int, title: str, words: str, cookies: Iterable[str] = ()) -> Response:
    """Return a page; both texts are escaped.

    Args:
        status: of the answer.
        title: a word or two.
        words: one paragraph.
        cookies: whole `Set-Cookie` values.
    """
    shown, said = html.escape(title), html.escape(words)
    document = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{shown}</title>'
        f"<body><h1>{shown}</h1><p>{said}</p></body></html>"
    )
    return with_cookies(HTMLResponse(document, status), cookies)


def of_error(error: GrantledgerError, cookies: Iterable[str] = ()) -> Response:
    """Return the page for what went wrong, in plain words.

    What the server said in its own is not repeated: it came through the browser.
    """
    answer = page(
        problems.meaning_of(error).status, "Not connected", _said(error), cookies
    )
    answer.headers.update(problems.retry_after(error))
    return answer


def with_cookies(answer: Response, cookies: Iterable[str]) -> Response:
    """Return the answer with these `Set-Cookie` headers."""
    for cookie in cookies:
        answer.headers.append("set-cookie", cookie)
    return answer


def _said(error: GrantledgerError) -> str:
    if isinstance(error, InvalidSubjectToken):
        return f"The server's word on who you are does not verify. {_START}"
    if isinstance(error, InvalidRequest):
        return _WORDS.get(error.field, f"The request is not right. {_START}")
    if isinstance(error, Unavailable):
        return "This cannot be done now. Nothing was stored; try again in a while."
    return "This cannot be done. Nothing was stored; tell whoever runs this service."
