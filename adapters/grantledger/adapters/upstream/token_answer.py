"""A token endpoint's 200, read tolerantly: the refresh token first.

By the time such an answer arrives the server has rotated. Whatever else is wrong
with it, the new refresh token must reach the ledger (known failures F2, F3), so
nothing in this file raises; what is wrong is said in `defect`, in words that
quote nothing.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from datetime import datetime
from typing import TypeGuard, cast

from grantledger.adapters.upstream.failures import read_object
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.values import (
    MAX_SUBJECT_LENGTH,
    AccessToken,
    IdToken,
    RefreshToken,
    Scopes,
    parse_scopes,
)

MAX_REFRESH_TOKEN_BYTES = 64 * 1024
MAX_ACCESS_TOKEN_BYTES = 16 * 1024
MAX_LIFETIME_SECONDS = 10 * 365 * 86400
"""A longer lifetime is read as this one: dates stay representable."""

MAX_JTI = 256
_MAX_TYPE = 128
_JWT_PARTS = 3
_LONGEST_NUMBER = 32

Fields = Mapping[str, object]


def read_token_answer(fields: Fields, sent_at: datetime) -> TokenAnswer:
    """Return what the answer holds; never raises.

    Args:
        fields: the JSON object of a 2xx answer.
        sent_at: aware UTC, when the request was sent.

    Source: RFC 6749 section 5.1, OpenID Connect Core section 3.1.3.3.
    """
    # First, and by itself: nothing below can stand in its way.
    refresh_token, defects = _refresh_token(fields)
    access_token = _access_token(fields, defects)
    scopes = _scopes(fields, defects)
    token_type = _token_type(fields, defects)
    issued = fields.get("issued_token_type")
    refresh_expires_in = read_seconds(fields.get("refresh_expires_in"))
    if refresh_expires_in is None:
        refresh_expires_in = read_seconds(fields.get("refresh_token_expires_in"))
    id_token = read_id_token(fields)
    return TokenAnswer(
        sent_at=sent_at,
        refresh_token=refresh_token,
        refresh_expires_in=refresh_expires_in,
        access_token=access_token,
        token_type=token_type,
        expires_in=read_seconds(fields.get("expires_in")),
        scopes=scopes,
        issued_token_type=_short(issued, _MAX_TYPE),
        # Unverified, and allowed to be: the ID token came straight from the token
        # endpoint over TLS (OpenID Connect Core section 3.1.3.7 item 6). It serves
        # to notice a changed subject, never to choose whose grant is used.
        id_token_subject=(
            _claim(id_token.reveal(), "sub", MAX_SUBJECT_LENGTH) if id_token else None
        ),
        # An identifier for the audit trail, read and not trusted.
        jti=token_jti(access_token.reveal()) if access_token else None,
        defect="; ".join(defects) or None,
    )


def read_id_token(fields: Fields) -> IdToken | None:
    """Return the ID token of an answer, unverified, None without a usable one."""
    value = fields.get("id_token")
    return IdToken(value) if _usable(value, MAX_REFRESH_TOKEN_BYTES) else None


def read_seconds(value: object) -> int | None:
    """Return whole seconds above 0, bounded; None for whatever is not that.

    Takes 900, 900.0 and "900"; refuses booleans, NaN, infinities, 0 and below
    (known failures F3). An infinite lifetime is no lifetime that was named.
    """
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    seconds = int(min(value, MAX_LIFETIME_SECONDS))
    return seconds if seconds > 0 else None


def unverified_claims(token: str) -> Fields:
    """Return the claims of a JWT without verifying anything, {} when it is none."""
    parts = token.split(".")
    if len(parts) != _JWT_PARTS:
        return {}
    payload = parts[1] + "=" * (-len(parts[1]) % 4)
    try:
        raw = base64.b64decode(payload, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return {}
    return read_object(raw) or {}


def token_jti(token: str) -> str | None:
    """Return the `jti` that a JWT names, unverified; None where it names none."""
    return _claim(token, "jti", MAX_JTI)


def _refresh_token(fields: Fields) -> tuple[RefreshToken | None, list[str]]:
    value = fields.get("refresh_token")
    if value is None:
        return None, []
    if _usable(value, MAX_REFRESH_TOKEN_BYTES):
        return RefreshToken(value), []
    return None, ["refresh_token is no usable string"]


def _access_token(fields: Fields, defects: list[str]) -> AccessToken | None:
    value = fields.get("access_token")
    if value is None:
        defects.append("access_token is missing")
    elif not _usable(value, MAX_ACCESS_TOKEN_BYTES):
        defects.append("access_token is no string of 1 to 16384 bytes")
    elif not all("!" <= c <= "~" for c in value):
        # It goes into a header (RFC 6750 section 2.1): a line break in it would
        # be somebody's injected header.
        defects.append("access_token has a character that no header may carry")
    else:
        return AccessToken(value)
    return None


def _scopes(fields: Fields, defects: list[str]) -> Scopes | None:
    value = fields.get("scope")
    if value is None:
        return None
    if isinstance(value, list):
        entries = cast("list[object]", value)
        value = " ".join(e for e in entries if isinstance(e, str))
        if not all(isinstance(e, str) for e in entries):
            value = None
    if isinstance(value, str):
        try:
            return parse_scopes(value)
        except ValueError:
            pass
    # Not read as "as asked": what was granted is then unknown.
    defects.append("scope is unreadable")
    return None


def _token_type(fields: Fields, defects: list[str]) -> str:
    value = fields.get("token_type")
    if value is None or (isinstance(value, str) and value.lower() == "bearer"):
        return "Bearer"
    # A type that is not understood must not be used (RFC 6749 section 7.1).
    defects.append("token_type is not Bearer")
    return _short(value, _MAX_TYPE) or ""


def _usable(value: object, most: int) -> TypeGuard[str]:
    if not isinstance(value, str) or not value:
        return False
    try:
        return len(value.encode()) <= most
    except UnicodeEncodeError:
        return False


def _short(value: object, most: int) -> str | None:
    if isinstance(value, str) and 0 < len(value) <= most and value.isprintable():
        return value
    return None


def _claim(token: str, name: str, most: int) -> str | None:
    return _short(unverified_claims(token).get(name), most)
