"""The refresh_token grant: in place on a row (A), or a table of its own (B, G).

Source: RFC 6749 section 6, RFC 9700 section 4.14.2; Nextcloud OIDC 2.0.9 and 2.5.1.
"""

from __future__ import annotations

import anyio

from grantledger.adapters.devserver.client_auth import authenticate, authenticate_owner
from grantledger.adapters.devserver.errors import OAuthError
from grantledger.adapters.devserver.forms import Call, split_scope
from grantledger.adapters.devserver.issue import answer
from grantledger.adapters.devserver.records import (
    Client,
    Family,
    Outcome,
    RefreshRecord,
    TokenAnswer,
)
from grantledger.adapters.devserver.state import DevState
from grantledger.adapters.devserver.tokens import sha256

UNKNOWN_TOKEN = "Could not find access token for code or refresh_token."  # noqa: S105 - a message
ALREADY_USED = "Refresh token has already been used."
CONSENT_REVOKED = "Consent has been revoked."
_EXPIRED = "Refresh token is expired."


async def refresh_in_place(state: DevState, call: Call) -> TokenAnswer:
    """Rotate on the grant's row, as profile A does.

    The row is read before and written after a pause, and nothing guards it: of two
    requests with the same token both succeed, and the last write survives.

    Raises:
        OAuthError: `invalid_grant`, `invalid_client` or `expired_client`.

    Source: Nextcloud OIDC 2.0.9.
    """
    presented = sha256(call.get("refresh_token") or "")
    with state.lock:
        record = state.refresh_tokens.get(presented)
        if record is None or state.family(record.family_id).ended is not None:
            # A used token has left its row: reuse is not told from nonsense.
            raise _refusal(state, presented, "unknown", UNKNOWN_TOKEN)
        family = state.family(record.family_id)
        client = _owner(state, call, record)
        if _is_expired(state, record):
            state.end_family(family.family_id, "deleted")
            raise _refusal(state, presented, "expired", _EXPIRED, family)
        _check_consent(state, presented, family)
    await anyio.sleep(state.settings.token_delay_seconds)
    with state.lock:
        body = answer(state, family, client, call.issuer)
        successor = family.refresh_sha256 if "refresh_token" in body else None
        _note_rotated(state, presented, family, successor)
    return body


async def refresh_in_table(state: DevState, call: Call) -> TokenAnswer:
    """Mark the token used and issue its successor, atomically, as B and G do.

    Raises:
        OAuthError: `invalid_grant`, `invalid_client`, `expired_client`,
            `invalid_scope` (the token is then not used up) or `invalid_request`.

    Source: Nextcloud OIDC 2.5.1; the re-issue grace of G is RFC 9700 section
        4.14.2's usual concession to lost answers.
    """
    presented = sha256(call.need("refresh_token"))
    client = _caller(state, call, presented)
    await anyio.sleep(state.settings.token_delay_seconds)
    with state.lock:
        record = state.refresh_tokens.get(presented)
        if record is None:
            raise _refusal(state, presented, "unknown", UNKNOWN_TOKEN)
        family = state.family(record.family_id)
        if family.client_id != client.client_id:
            raise _refusal(state, presented, "wrong_client", UNKNOWN_TOKEN, family)
        if family.ended is not None:
            raise _refusal(state, presented, "revoked", UNKNOWN_TOKEN, family)
        if record.used_at is not None:
            return _presented_again(state, record, family)
        if _is_expired(state, record):
            raise _refusal(state, presented, "expired", _EXPIRED, family)
        _check_consent(state, presented, family)
        scopes = _narrowed(state, presented, family, call)
        body = answer(state, family, client, call.issuer, scopes=scopes)
        return _mark_used(state, record, family, body)


def _mark_used(
    state: DevState, record: RefreshRecord, family: Family, body: TokenAnswer
) -> TokenAnswer:
    record.used_at = state.now()
    record.successor_sha256 = family.refresh_sha256
    if state.profile == "G":
        record.answer = dict(body)
    _note_rotated(state, record.sha256, family, record.successor_sha256)
    return body


def _presented_again(
    state: DevState, record: RefreshRecord, family: Family
) -> TokenAnswer:
    """Answer for a token that is already used: again, with an error, or an end.

    What profile G gives again is the earlier answer, even if its tokens have been
    superseded meanwhile.
    """
    elapsed = state.now() - (record.used_at or 0)
    reissue = state.grace_reissue_seconds
    if reissue is not None and record.answer is not None and elapsed <= reissue:
        _check_consent(state, record.sha256, family)
        remaining = max(0, state.settings.access_token_seconds - int(elapsed))
        state.note_redemption(
            record.sha256,
            "reissued",
            family_id=family.family_id,
            successor=record.successor_sha256,
        )
        return record.answer | {"expires_in": remaining}
    if reissue is None and elapsed <= state.settings.reuse_grace_seconds:
        raise _refusal(state, record.sha256, "already_used", ALREADY_USED, family)
    state.end_family(family.family_id, "reuse")
    raise _refusal(state, record.sha256, "reuse_revoked", ALREADY_USED, family)


def _narrowed(
    state: DevState, presented: str, family: Family, call: Call
) -> tuple[str, ...]:
    wanted = split_scope(call.get("scope")) or family.scopes
    if set(wanted) <= set(family.scopes):
        return wanted
    state.note_redemption(presented, "invalid_scope", family_id=family.family_id)
    raise OAuthError("invalid_scope", "The scope exceeds what was granted.")


def _check_consent(state: DevState, presented: str, family: Family) -> None:
    if (family.user, family.client_id) not in state.consents:
        raise _refusal(state, presented, "consent_withdrawn", CONSENT_REVOKED, family)


def _is_expired(state: DevState, record: RefreshRecord) -> bool:
    return record.expires_at is not None and state.now() >= record.expires_at


def _owner(state: DevState, call: Call, record: RefreshRecord) -> Client:
    family = state.family(record.family_id)
    try:
        return authenticate_owner(state, call, family.client_id)
    except OAuthError:
        state.note_redemption(
            record.sha256, "invalid_client", family_id=family.family_id
        )
        raise


def _caller(state: DevState, call: Call, presented: str) -> Client:
    try:
        with state.lock:
            return authenticate(state, call)
    except OAuthError:
        state.note_redemption(presented, "invalid_client")
        raise


def _note_rotated(
    state: DevState, presented: str, family: Family, successor: str | None
) -> None:
    state.note_redemption(
        presented, "rotated", family_id=family.family_id, successor=successor
    )


def _refusal(
    state: DevState,
    presented: str,
    outcome: Outcome,
    description: str,
    family: Family | None = None,
) -> OAuthError:
    family_id = None if family is None else family.family_id
    state.note_redemption(presented, outcome, family_id=family_id)
    return OAuthError("invalid_grant", description)
