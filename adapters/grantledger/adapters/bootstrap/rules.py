"""From settings to a provider's rules, starting from what its kind is known to do."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from grantledger.adapters.settings import ProviderSettings, UnknownOutcomeSettings
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.provider import (
    AbsentRefreshExpires,
    AbsentRefreshToken,
    ExchangeStrategy,
    ExchangeTarget,
    ProviderRules,
    Quarantine,
    RetryOnce,
    RetryWithinGrace,
    UnknownOutcomeRule,
)
from grantledger.domain.values import parse_scopes

E = TypeVar("E", bound=StrEnum)


class OutcomeRule(StrEnum):
    """What may follow a redemption without an answer, as settings say it."""

    RETRY_WITHIN_GRACE = "retry_within_grace"
    RETRY_ONCE = "retry_once"
    QUARANTINE = "quarantine"


# Nextcloud's OIDC app 2.5: a used token is refused and, after 5 s, its family with
# it. An answer that was lost took the family's successor along, so that one more try
# risks nothing that is not lost already. A refresh token lives for a quarter of an hour
# from its last use: a grant whose job runs once a night needs a worker to live on.
_NEXTCLOUD_2_5: Mapping[str, Any] = {
    "unknown_outcome": RetryOnce(),
    "single_access_token": True,
    "family_revocation": True,
    "exchange_target": ExchangeTarget.RESOURCE,
    "keep_alive": True,
    "default_expires_in_seconds": 900,
}
# 2.0: rotates in place at every use, ignores `scope`, has neither token exchange nor
# revocation, and spends the token even where it returns none.
_NEXTCLOUD_2_0: Mapping[str, Any] = {
    "unknown_outcome": RetryOnce(),
    "single_access_token": True,
    "honours_scope": False,
    "absent_refresh_token": AbsentRefreshToken.CONSUMED,
    "revocation": False,
    "exchange_strategy": ExchangeStrategy.TOKEN_EXCHANGE,
    "keep_alive": True,
    "default_expires_in_seconds": 900,
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "generic": {},
    "nextcloud-2.5": _NEXTCLOUD_2_5,
    "nextcloud-2.0": _NEXTCLOUD_2_0,
}
_PLAIN = (
    "cache_ttl_seconds",
    "cache_early_refresh_seconds",
    "http_budget_seconds",
    "takeover_margin_seconds",
    "default_expires_in_seconds",
    "exchange_default_expires_in_seconds",
    "exchange_cap_seconds",
    "honours_scope",
    "single_access_token",
    "family_revocation",
    "revocation",
    "access_token_revocation",
    "rotation_interval_seconds",
    "keep_alive",
    "rotations_per_minute",
)


def rules_of(name: str, settings: ProviderSettings, client_id: str) -> ProviderRules:
    """Return a provider's rules.

    Raises:
        ConfigurationError: an unknown preset or word, or rules that would break a
            promise; `field` names the setting.
    """
    preset = PRESETS.get(settings.preset)
    if preset is None:
        field = f"providers.{name}.preset"
        raise ConfigurationError(
            f"{field}: {settings.preset!r} is none of {', '.join(PRESETS)}", field
        )
    fields: dict[str, Any] = dict(preset)
    for field in _PLAIN:
        value = getattr(settings, field)
        if value is not None:
            fields[field] = value
    for field, kind in (
        ("absent_refresh_token", AbsentRefreshToken),
        ("absent_refresh_expires", AbsentRefreshExpires),
        ("exchange_strategy", ExchangeStrategy),
        ("exchange_target", ExchangeTarget),
    ):
        word = getattr(settings, field)
        if word is not None:
            fields[field] = one_of(kind, word, f"providers.{name}.{field}")
    if settings.base_scopes is not None:
        fields["base_scopes"] = parse_scopes(settings.base_scopes)
    if settings.default_scopes is not None:
        fields["default_scopes"] = parse_scopes(settings.default_scopes)
    if settings.unknown_outcome is not None:
        fields["unknown_outcome"] = _outcome_rule(name, settings.unknown_outcome)
    return ProviderRules(
        name=name,
        issuer=settings.issuer,
        client_id=client_id,
        audience=settings.audience,
        resources=dict(settings.resources),
        **fields,
    )


def one_of(kind: type[E], word: str, field: str) -> E:
    """Return the member of an enumeration that a setting names.

    Raises:
        ConfigurationError: there is none of that name; the known ones are listed.
    """
    try:
        return kind(word)
    except ValueError:
        known = ", ".join(kind)
        raise ConfigurationError(
            f"{field}: {word!r} is none of {known}", field
        ) from None


def _outcome_rule(name: str, settings: UnknownOutcomeSettings) -> UnknownOutcomeRule:
    field = f"providers.{name}.unknown_outcome"
    rule = one_of(OutcomeRule, settings.rule, f"{field}.rule")
    if (rule is OutcomeRule.RETRY_WITHIN_GRACE) is (settings.seconds is None):
        raise ConfigurationError(
            f"{field}.seconds belongs to {OutcomeRule.RETRY_WITHIN_GRACE} and to no "
            f"other rule; the rule is {rule}",
            f"{field}.seconds",
        )
    if settings.seconds is not None:
        return RetryWithinGrace(settings.seconds)
    return RetryOnce() if rule is OutcomeRule.RETRY_ONCE else Quarantine()
