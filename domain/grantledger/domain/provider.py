"""What is known of one authorization server: the rules that decisions follow.

A rule that changes what a stored event means is resolved when the decision is
made and stored in the event, so that replay never reads today's configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from grantledger.domain.errors import ConfigurationError, InvalidTarget
from grantledger.domain.values import Scopes

MAX_SECONDS = 315_360_000.0
"""Ten years: what is longer is a mistake, and no date can be reckoned with NaN."""

MIN_INTERVAL_SECONDS = 10.0
MIN_ROTATIONS, MAX_ROTATIONS = 1.0, 60_000.0


@dataclass(frozen=True, slots=True)
class RetryWithinGrace:
    """The server re-issues for `seconds` after a rotation; retry until then.

    Counted from the recorded intent, so that the server's own count ends later.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class RetryOnce:
    """One more try is acceptable: at worst an error, or a family already lost."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Never send the token again; consent is asked for."""


UnknownOutcomeRule = RetryWithinGrace | RetryOnce | Quarantine


class AbsentRefreshToken(StrEnum):
    """What an answer without `refresh_token` means (RFC 6749 section 6: kept)."""

    KEPT = "kept"
    CONSUMED = "consumed"


class AbsentRefreshExpires(StrEnum):
    """What a successor without `refresh_expires_in` means."""

    NEVER = "never"
    INHERIT = "inherit"


class ExchangeStrategy(StrEnum):
    """How a session token becomes a token for another audience."""

    TOKEN_EXCHANGE = "token-exchange"  # noqa: S105 - a grant type's name
    REFRESH = "refresh"
    EXCHANGE_THEN_REFRESH = "exchange-then-refresh"


class ExchangeTarget(StrEnum):
    """Which RFC 8693 parameter names the target."""

    AUDIENCE = "audience"
    RESOURCE = "resource"


@dataclass(frozen=True, slots=True)
class ProviderRules:
    """One authorization server's rules; times in seconds.

    Attributes:
        base_scopes: asked for beside the caller's, where they were granted.
        default_scopes: what a caller gets who names none.
        audience: default audience of background tokens, or None.
        resources: audience name to resource URI (RFC 8707).
        http_budget_seconds: the whole redemption request, connect to last byte.
        takeover_margin_seconds: added to the budget to make the lease.
        default_expires_in_seconds: when the server names no lifetime.
        exchange_cap_seconds: an exchanged token is never said to outlive this.
        honours_scope: the server narrows by `scope`; if not, every token is as
            wide as the grant and recorded so.
        single_access_token: the server keeps one live access token per grant.
        family_revocation: revoking a refresh token ends its whole family.
        revocation: False where the server has no revocation endpoint at all.
        access_token_revocation: revoking an access token ends that token alone; many
            servers end the grant with it.
        rotation_interval_seconds: a worker rotates a grant that was not used for so
            long, within the last quarter of it; None: never.
        keep_alive: a worker uses a refresh token before its stated end.
        rotations_per_minute: of one worker, those that nobody asked for.
    """

    name: str
    issuer: str
    client_id: str
    base_scopes: Scopes = ("email", "openid", "profile")
    default_scopes: Scopes = ()
    audience: str | None = None
    resources: Mapping[str, str] = field(default_factory=dict[str, str])
    cache_ttl_seconds: float = 300.0
    cache_early_refresh_seconds: float = 30.0
    default_expires_in_seconds: int = 3600
    exchange_default_expires_in_seconds: int = 300
    exchange_cap_seconds: int = 300
    http_budget_seconds: float = 10.0
    takeover_margin_seconds: float = 2.0
    unknown_outcome: UnknownOutcomeRule = field(default_factory=Quarantine)
    honours_scope: bool = True
    absent_refresh_token: AbsentRefreshToken = AbsentRefreshToken.KEPT
    absent_refresh_expires: AbsentRefreshExpires = AbsentRefreshExpires.NEVER
    single_access_token: bool = False
    family_revocation: bool = False
    revocation: bool = True
    access_token_revocation: bool = False
    exchange_strategy: ExchangeStrategy = ExchangeStrategy.TOKEN_EXCHANGE
    exchange_target: ExchangeTarget = ExchangeTarget.AUDIENCE
    rotation_interval_seconds: float | None = None
    keep_alive: bool = False
    rotations_per_minute: float = 600.0

    @property
    def lease_seconds(self) -> float:
        """How long an intent is its holder's alone."""
        return self.http_budget_seconds + self.takeover_margin_seconds

    def __post_init__(self) -> None:
        """Refuse rules that would break a promise.

        Raises:
            ConfigurationError: a time is not positive or no date can take it, or the
                lease is as long as the server's grace, so that a takeover could only
                come too late.
        """
        for name in (
            "cache_ttl_seconds",
            "default_expires_in_seconds",
            "exchange_default_expires_in_seconds",
            "exchange_cap_seconds",
            "http_budget_seconds",
            "takeover_margin_seconds",
        ):
            if not 0 < getattr(self, name) <= MAX_SECONDS:
                raise ConfigurationError(
                    f"provider {self.name}: {name} must be above 0, "
                    f"at most {MAX_SECONDS:g}",
                    name,
                )
        self._check_upkeep()
        if not 0 <= self.cache_early_refresh_seconds <= MAX_SECONDS:
            raise ConfigurationError(
                f"provider {self.name}: cache_early_refresh_seconds must be 0 or more, "
                f"at most {MAX_SECONDS:g}",
                "cache_early_refresh_seconds",
            )
        rule = self.unknown_outcome
        if isinstance(rule, RetryWithinGrace) and not (
            self.lease_seconds < rule.seconds <= MAX_SECONDS
        ):
            raise ConfigurationError(
                f"provider {self.name}: http_budget_seconds + takeover_margin_seconds"
                f" = {self.lease_seconds:g} s must be below the grace of"
                f" {rule.seconds:g} s, which is at most {MAX_SECONDS:g}",
                "unknown_outcome",
            )

    @property
    def rotates(self) -> bool:
        """Whether workers rotate grants here that nobody asks for."""
        return self.keep_alive or self.rotation_interval_seconds is not None

    def _check_upkeep(self) -> None:
        interval = self.rotation_interval_seconds
        if interval is not None and not MIN_INTERVAL_SECONDS <= interval <= MAX_SECONDS:
            raise ConfigurationError(
                f"provider {self.name}: rotation_interval_seconds must be "
                f"{MIN_INTERVAL_SECONDS:g} or more, at most {MAX_SECONDS:g}",
                "rotation_interval_seconds",
            )
        rate = self.rotations_per_minute
        if not MIN_ROTATIONS <= rate <= MAX_ROTATIONS:
            raise ConfigurationError(
                f"provider {self.name}: rotations_per_minute must be "
                f"{MIN_ROTATIONS:g} or more, at most {MAX_ROTATIONS:g}",
                "rotations_per_minute",
            )

    def resource_for(self, audience: str | None) -> str | None:
        """Return the resource URI that `audience` is known by, None for none.

        Raises:
            InvalidTarget: the table has no such audience and it is no URI itself.
        """
        if audience is None:
            return None
        if audience in self.resources:
            return self.resources[audience]
        if "://" in audience and "#" not in audience:
            return audience
        raise InvalidTarget(
            f"provider {self.name} has no resource for audience {audience!r}; "
            f"known: {', '.join(sorted(self.resources)) or 'none'}"
        )
