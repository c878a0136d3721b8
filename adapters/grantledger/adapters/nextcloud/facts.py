"""What an application says of a consent, and how it reads back.

The earlier broker overwrote what was not repeated. Here an argument that is left
out is not said: a rotation leaves the facts alone (known failures F5).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from grantledger.adapters.nextcloud.environment import AUDIENCE, PROVIDER
from grantledger.domain.errors import InvalidRequest, InvalidScope
from grantledger.domain.grant_state import HeldRefreshToken, Provisioning
from grantledger.domain.requests import check_key
from grantledger.domain.user_grant import Consent
from grantledger.domain.values import GrantKey, RefreshToken, Scopes, parse_scopes

DEFAULT_FLOW = "hybrid"
CLIENT = "provisioning_client_id"


@dataclass(frozen=True, slots=True)
class Facts:
    """What was said of a consent; None for what was left out."""

    flow: str | None
    audience: str | None
    client: str | None
    scopes: Scopes | None

    def hold(self, known: Provisioning) -> bool:
        """Tell whether nothing that was said differs from what is known."""
        metadata = dict(known.metadata)
        return (
            self.flow in (None, known.flow)
            and self.audience in (None, known.audience)
            and self.client in (None, metadata.get(CLIENT))
            and self.scopes in (None, known.scopes)
        )

    def consent(
        self,
        key: GrantKey,
        client_id: str,
        token: RefreshToken,
        expires_at: datetime | None,
        known: Provisioning | None,
    ) -> Consent:
        """Return the consent; what was not said is taken from what is known."""
        client = self.client
        if client is None and known is not None:
            client = dict(known.metadata).get(CLIENT)
        flow, audience, scopes = DEFAULT_FLOW, AUDIENCE, Scopes()
        if known is not None:
            flow, audience = known.flow, known.audience or AUDIENCE
            scopes = known.scopes
        return Consent(
            key=key,
            client_id=client_id,
            flow=flow if self.flow is None else self.flow,
            scopes=scopes if self.scopes is None else self.scopes,
            refresh_token=token,
            refresh_expires_at=expires_at,
            audience=audience if self.audience is None else self.audience,
            metadata=((CLIENT, client),) if client else (),
        )


def key_of(user_id: str) -> GrantKey:
    """Return what the user's grant is looked up by.

    Raises:
        InvalidRequest: the user id is empty, too long, or does not print.
    """
    key = GrantKey(PROVIDER, user_id)
    check_key(key)
    return key


def scopes_of(scopes: Iterable[str], field: str) -> Scopes:
    """Return scopes in their order.

    Raises:
        InvalidScope: one has characters that no scope has, or there are too many.
    """
    try:
        return parse_scopes(scopes)
    except ValueError as cause:
        raise InvalidScope(f"{field}: {cause}", field) from cause


def moment(value: float | datetime | None, field: str) -> datetime | None:
    """Return Unix seconds, or a time, as aware UTC.

    Raises:
        InvalidRequest: it is no time that a date can take.
    """
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        if not isinstance(value, bool) and math.isfinite(value):
            return datetime.fromtimestamp(value, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        pass
    raise InvalidRequest(f"{field} is no time in Unix seconds", field)


def unix(at: datetime | None) -> int | None:
    """Return a time in whole Unix seconds, None for none."""
    return None if at is None else int(at.timestamp())


def read_back(held: HeldRefreshToken, known: Provisioning) -> Mapping[str, object]:
    """Return a refresh token with what is known of its consent."""
    return {
        "refresh_token": held.token.reveal(),
        "expires_at": unix(held.expires_at),
        "flow_type": known.flow,
        "token_audience": known.audience,
        "provisioned_at": unix(known.provisioned_at),
        "scopes": list(known.scopes) or None,
    }
