"""Pages that only a person opens, by going there."""

from __future__ import annotations

from starlette.requests import Request

from grantledger.domain.errors import InvalidRequest


def check_navigation(request: Request) -> None:
    """Refuse what no person has opened: frames, images, scripts, prefetches.

    Raises:
        InvalidRequest: such a request comes.

    Source: W3C Fetch Metadata Request Headers; a browser without them is let through.
    """
    said = request.headers
    if (
        said.get("sec-fetch-mode", "navigate") != "navigate"
        or said.get("sec-fetch-dest", "document") != "document"
        or "prefetch" in said.get("sec-purpose", "")
    ):
        raise InvalidRequest("open this address as a page of its own", "request")
