"""The two shapes in which this server refuses, before they become responses.

DevServerError
  OAuthError   a JSON object with `error` (RFC 6749 section 5.2)
  PlainError   a JSON object with `message` only, as Nextcloud's framework does
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus


class DevServerError(Exception):
    """A refusal, with the status and headers that it is to be rendered with.

    Attributes:
        status: the HTTP status.
        body: the JSON object.
        headers: additional response headers.
    """

    def __init__(
        self,
        status: HTTPStatus,
        body: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status.value} {body}")
        self.status = status
        self.body = dict(body)
        self.headers = dict(headers or {})


class OAuthError(DevServerError):
    """A refusal in the words of RFC 6749 section 5.2.

    Attributes:
        error: the error code.
        description: text for developers; never a token.
    """

    def __init__(
        self,
        error: str,
        description: str,
        status: HTTPStatus = HTTPStatus.BAD_REQUEST,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        body = {"error": error, "error_description": description}
        super().__init__(status, body, headers)
        self.error = error
        self.description = description


class PlainError(DevServerError):
    """A refusal by the framework around the app: no `error`, only `message`.

    Source: Nextcloud OIDC 2.0.9 and 2.5.1 (throttling, maintenance).
    """

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, {"message": message}, headers)
