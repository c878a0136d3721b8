"""Which of the tokens that a grant holds answers a request, and for how long."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from grantledger.domain.errors import Unavailable
from grantledger.domain.grant_state import HeldAccessToken
from grantledger.domain.provider import ProviderRules
from grantledger.domain.requests import TokenRequest
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import Scopes

if TYPE_CHECKING:
    from grantledger.domain.hot import HotToken
    from grantledger.domain.policy import CallerRule

EARLY_SHARE = 0.25
MAX_PICKS = 16


class View:
    """A grant as last read, with what was picked from it; never changed.

    Attributes:
        weight: bytes of memory that it takes, about.
    """

    __slots__ = ("grant", "picks", "weight")

    def __init__(self, grant: UserGrant, weight: int) -> None:
        self.grant = grant
        self.weight = weight
        self.picks: dict[tuple[Scopes, str | None], Pick] = {}


class Pick:
    """A held token that answers a request, and until when.

    Attributes:
        until: aware UTC, from when on it counts as missing.
        missing: scopes that the request needs and the token lacks.
        covered_by: the rule that was last seen to cover all its scopes.
        hot: how often it is asked for, once it was.
    """

    __slots__ = ("covered_by", "hot", "missing", "token", "until")

    def __init__(
        self, token: HeldAccessToken, until: datetime, missing: Scopes
    ) -> None:
        self.token = token
        self.until = until
        self.missing = missing
        self.covered_by: CallerRule | None = None
        self.hot: HotToken | None = None


@lru_cache(maxsize=4096)
def scopes_to_ask(
    base: Scopes, granted: Scopes, needed: Scopes, *, whole: bool
) -> Scopes:
    """Return what a redemption asks for, sorted (RFC 6749 section 6).

    The base scopes that were granted, and what the caller needs; all that was
    granted where the server keeps one token per grant (`whole`): where nobody knows
    what that was, nothing is named, which asks for the same.
    """
    if whole:
        return granted
    base_granted = set(base) & set(granted) if granted else set(base)
    return tuple(sorted(base_granted | set(needed)))


def usable_until(token: HeldAccessToken, rules: ProviderRules) -> datetime:
    """Return when a held token starts to count as missing.

    The early-refresh margin is cut to a quarter of the lifetime, so that a token
    that lives half a minute is still used more than once.
    """
    lifetime = (token.expires_at - token.obtained_at).total_seconds()
    early = min(rules.cache_early_refresh_seconds, lifetime * EARLY_SHARE)
    return min(
        token.expires_at - timedelta(seconds=early),
        token.obtained_at + timedelta(seconds=rules.cache_ttl_seconds),
    )


def asked_scopes(rules: ProviderRules, grant: UserGrant, needed: Scopes) -> Scopes:
    """Return what a redemption for `needed` asks of this grant's server."""
    return scopes_to_ask(
        rules.base_scopes,
        grant.state.provisioning.scopes,
        needed,
        whole=rules.single_access_token or not rules.honours_scope,
    )


def pick_of(
    view: View, rules: ProviderRules, needed: Scopes, audience: str | None
) -> Pick | None:
    """Return the newest held token that answers the request, None without."""
    cached = view.picks.get((needed, audience))
    if cached is not None:
        return cached
    grant = view.grant
    if rules.single_access_token and grant.state.ambiguity is not None:
        # The answer that was lost may have ended them: the provider's rule first.
        return None
    asked = asked_scopes(rules, grant, needed)
    wide = rules.single_access_token or not rules.honours_scope
    for token in reversed(grant.state.access_tokens):
        if (
            token.token is None
            or token.generation != grant.state.generation
            or token.audience != audience
        ):
            continue
        if token.asked == asked or (wide and set(needed) <= set(token.scopes)):
            missing = tuple(sorted(set(needed) - set(token.scopes)))
            pick = Pick(token, usable_until(token, rules), missing)
            if len(view.picks) < MAX_PICKS:
                view.picks[needed, audience] = pick
            return pick
    return None


def lasts(
    view: View, pick: Pick, now: datetime, request: TokenRequest, spent: int
) -> bool:
    """Tell whether the token will do; one got for this very call always does.

    Raises:
        Unavailable: that one is over already: another would be, too, and each
            costs a rotation.
    """
    token = pick.token
    if spent and token.version > spent:
        if now >= token.expires_at:
            raise Unavailable("the server's token was over before it arrived")
        return True
    if now >= pick.until:
        return False
    if token.version <= request.newer_than <= view.grant.version:
        # A number beyond the grant's own names none of its tokens: it was erased,
        # and this is the next one.
        return False
    if not request.min_ttl_seconds:
        return True
    lifetime = (token.expires_at - token.obtained_at).total_seconds()
    # No server's answer can outlive its own lifetime: ask for three quarters at
    # most, or every call would rotate.
    wanted = min(request.min_ttl_seconds, lifetime * (1 - EARLY_SHARE))
    return (token.expires_at - now).total_seconds() >= wanted
