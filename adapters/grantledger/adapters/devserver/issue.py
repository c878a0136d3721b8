"""Making tokens for a grant and putting them on record.

Every function here expects `state.lock` to be held.
"""

from __future__ import annotations

import base64
import hashlib

from grantledger.adapters.devserver.records import (
    AccessRecord,
    Client,
    Family,
    RefreshRecord,
    TokenAnswer,
)
from grantledger.adapters.devserver.state import DevState
from grantledger.adapters.devserver.tokens import (
    ACCESS_TOKEN_CHARACTERS,
    REFRESH_TOKEN_CHARACTERS,
    random_token,
    sha256,
)

_JTI_CHARACTERS = 32
_ACR = "0"


def issue_access(
    state: DevState,
    family: Family,
    client: Client,
    issuer: str,
    *,
    scopes: tuple[str, ...],
    audience: str | None = None,
    seconds: int | None = None,
    parent: AccessRecord | None = None,
    as_jwt: bool | None = None,
) -> str:
    """Record a new access token and return it.

    Args:
        state: where it is recorded.
        family: the grant that it belongs to. Unless it has a parent, it supersedes
            the grant's access token: one is live per grant.
        client: whom it is issued to.
        issuer: the `iss`.
        scopes: what it covers.
        audience: the `aud`; None: the grant's resource, else the client id.
        seconds: its life; None: `access_token_seconds`.
        parent: the subject token, when it is the child of an exchange.
        as_jwt: overrides the client's registration.

    Source: Nextcloud OIDC 2.5.1 (claims); RFC 9068 (`typ`).
    """
    now = state.now()
    life = state.settings.access_token_seconds if seconds is None else seconds
    jti = random_token(_JTI_CHARACTERS)
    aud = audience or family.resource or client.client_id
    is_jwt = client.jwt_access_tokens if as_jwt is None else as_jwt
    if is_jwt:
        claims = _claims(family, client, issuer, aud, int(now))
        claims |= {"exp": int(now) + life, "scope": " ".join(scopes), "jti": jti}
        token = state.keys.sign(claims, "at+jwt")
    else:
        token = random_token(ACCESS_TOKEN_CHARACTERS)
    # 2.0.9 adds expire_time to a time stamp that already lies expire_time ahead.
    real_life = 2 * life if state.legacy and not is_jwt else life
    record = AccessRecord(
        sha256=sha256(token),
        family_id=family.family_id,
        user=family.user,
        client_id=client.client_id,
        scopes=scopes,
        audience=aud,
        issued_at=now,
        announced_until=now + life,
        valid_until=now + real_life,
        jti=jti,
        parent_sha256=parent.sha256 if parent else None,
    )
    state.access_tokens[record.sha256] = record
    if parent is None:
        if family.access_sha256 is not None:
            state.access_tokens[family.access_sha256].ended = True
        family.access_sha256 = record.sha256
    return token


def issue_refresh(state: DevState, family: Family) -> str:
    """Record a new current refresh token for `family` and return it.

    Profile A has one row per grant: the earlier token is forgotten. B and G keep
    all in a table of their own.

    Source: Nextcloud OIDC 2.0.9 and 2.5.1.
    """
    token = random_token(REFRESH_TOKEN_CHARACTERS)
    seconds = state.settings.refresh_token_seconds
    now = state.now()
    if state.legacy and family.refresh_sha256 is not None:
        del state.refresh_tokens[family.refresh_sha256]
    record = RefreshRecord(
        sha256=sha256(token),
        family_id=family.family_id,
        issued_at=now,
        expires_at=None if seconds is None else now + seconds,
    )
    state.refresh_tokens[record.sha256] = record
    family.refresh_sha256 = record.sha256
    family.generation += 1
    return token


def answer(
    state: DevState,
    family: Family,
    client: Client,
    issuer: str,
    *,
    scopes: tuple[str, ...] | None = None,
    as_jwt: bool | None = None,
) -> TokenAnswer:
    """Issue what the token endpoint hands out for `family`, as that answer.

    Args:
        state: where everything is recorded.
        family: the grant.
        client: its client.
        issuer: the `iss`.
        scopes: of the access token only; None: all of the grant's.
        as_jwt: overrides the client's registration.

    Source: Nextcloud OIDC 2.0.9 (no `scope`, always an `id_token`, a refresh token
        with `offline_access` only) and 2.5.1 (`scope` always, `id_token` with
        `openid` only, always a refresh token).
    """
    granted = family.scopes if scopes is None else scopes
    access = issue_access(state, family, client, issuer, scopes=granted, as_jwt=as_jwt)
    # Profile A rotates even when it does not say to what: the old one is dead.
    refresh = issue_refresh(state, family)
    body: TokenAnswer = {
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": state.settings.access_token_seconds,
    }
    if not state.legacy or "offline_access" in family.scopes:
        body["refresh_token"] = refresh
        if state.settings.refresh_token_seconds is not None:
            body["refresh_expires_in"] = state.settings.refresh_token_seconds
    if not state.legacy:
        body["scope"] = " ".join(granted)
    if state.legacy or "openid" in granted:
        body["id_token"] = _id_token(state, family, client, issuer, access)
    return body


def _id_token(
    state: DevState, family: Family, client: Client, issuer: str, access: str
) -> str:
    now = int(state.now())
    claims = _claims(family, client, issuer, client.client_id, now)
    half = hashlib.sha256(access.encode()).digest()[:16]
    claims |= {
        "exp": now + state.settings.access_token_seconds,
        "jti": random_token(_JTI_CHARACTERS),
        "scope": " ".join(family.scopes),
        "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
    }
    if family.nonce is not None:
        claims["nonce"] = family.nonce
    user = state.user(family.user)
    if user is not None and "email" in family.scopes and user.email:
        claims["email"] = user.email
    return state.keys.sign(claims, "JWT")


def _claims(
    family: Family, client: Client, issuer: str, audience: str, now: int
) -> dict[str, str | int]:
    return {
        "iss": issuer,
        "sub": family.user,
        "aud": audience,
        "auth_time": family.auth_time,
        "iat": now,
        "acr": _ACR,
        "client_id": client.client_id,
        "azp": client.client_id,
        "preferred_username": family.user,
    }
