"""The two HTML pages: log in and consent, and "this cannot go on"."""

from __future__ import annotations

import html
from http import HTTPStatus

from starlette.responses import HTMLResponse

from grantledger.adapters.devserver.answers import NO_STORE

_HEADERS = {
    **NO_STORE,
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def consent_page(
    *,
    action: str,
    request_id: str,
    csrf: str,
    client_name: str,
    scopes: tuple[str, ...],
    users: tuple[str, ...],
) -> HTMLResponse:
    """Return the page on which a user logs in and approves or denies.

    Args:
        action: path that the form is posted to.
        request_id: names the pending authorization request.
        csrf: goes into a hidden field.
        client_name: who asks.
        scopes: what it asks for.
        users: who may log in, the suggested one first.
    """
    options = "".join(f"<option>{html.escape(user)}</option>" for user in users)
    wanted = "".join(f"<li>{html.escape(scope)}</li>" for scope in scopes)
    content = (
        f"<h1>{html.escape(client_name)} asks for access</h1><ul>{wanted}</ul>"
        f'<form method="post" action="{html.escape(action)}">'
        f'<input type="hidden" name="request" value="{html.escape(request_id)}">'
        f'<input type="hidden" name="csrf" value="{html.escape(csrf)}">'
        f'<label>User <select name="user">{options}</select></label>'
        '<button name="decision" value="approve">Approve</button>'
        '<button name="decision" value="deny">Deny</button></form>'
    )
    return _page("Consent", content, HTTPStatus.OK)


def error_page(
    message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST
) -> HTMLResponse:
    """Return a page for what must not be redirected (RFC 6749 section 4.1.2.1)."""
    return _page("Error", f"<p>{html.escape(message)}</p>", status)


def plain_page(message: str) -> HTMLResponse:
    """Return a page that says `message`."""
    return _page("Done", f"<p>{html.escape(message)}</p>", HTTPStatus.OK)


def _page(title: str, content: str, status: HTTPStatus) -> HTMLResponse:
    document = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<body>{content}</body></html>"
    )
    return HTMLResponse(document, status, _HEADERS)
