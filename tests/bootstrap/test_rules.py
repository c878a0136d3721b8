"""From settings to rules: what each preset says, and what may be said instead."""

from __future__ import annotations

import pytest

from grantledger.adapters.bootstrap.rules import PRESETS, rules_of
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

ISSUER = "https://cloud.example"


def rules(**said: object) -> ProviderRules:
    settings = ProviderSettings(issuer=ISSUER)
    for name, value in said.items():
        setattr(settings, name, value)
    return rules_of("cloud", settings, "client-1")


def refused(**said: object) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        rules(**said)
    return caught.value


def test_the_generic_preset_is_the_careful_default() -> None:
    """Row 1: a cache of 300 s, refreshed 30 s early; an unknown outcome is final."""
    generic = rules()
    assert generic == ProviderRules(name="cloud", issuer=ISSUER, client_id="client-1")
    assert generic.cache_ttl_seconds == 300
    assert generic.cache_early_refresh_seconds == 30
    assert generic.default_expires_in_seconds == 3600
    assert generic.exchange_default_expires_in_seconds == 300
    assert generic.exchange_cap_seconds == 300
    assert generic.base_scopes == ("email", "openid", "profile")
    assert generic.unknown_outcome == Quarantine()


def test_the_preset_of_nextcloud_2_5_says_what_that_release_does() -> None:
    """Profile B: one token, narrowed by `scope`; families; exchange by `resource`."""
    modern = rules(preset="nextcloud-2.5")
    assert modern.honours_scope
    assert modern.single_access_token
    assert modern.family_revocation
    assert modern.revocation
    assert modern.default_expires_in_seconds == 900
    assert modern.exchange_target is ExchangeTarget.RESOURCE
    assert modern.exchange_strategy is ExchangeStrategy.TOKEN_EXCHANGE
    assert modern.absent_refresh_token is AbsentRefreshToken.KEPT
    # `refresh_expires_in` is left out when refresh tokens never expire.
    assert modern.absent_refresh_expires is AbsentRefreshExpires.NEVER
    # A used token is never re-issued: within 5 s an error, then the family is lost.
    assert modern.unknown_outcome == RetryOnce()


def test_the_preset_of_nextcloud_2_0_says_what_that_release_does() -> None:
    """Profile A: ignores `scope`, spends a token it does not replace, no revocation."""
    legacy = rules(preset="nextcloud-2.0")
    assert not legacy.honours_scope
    assert legacy.single_access_token
    assert not legacy.family_revocation
    assert not legacy.revocation
    assert legacy.default_expires_in_seconds == 900
    assert legacy.absent_refresh_token is AbsentRefreshToken.CONSUMED
    assert legacy.absent_refresh_expires is AbsentRefreshExpires.NEVER
    # Neither is there an exchange; nothing weaker takes its place unasked.
    assert legacy.exchange_strategy is ExchangeStrategy.TOKEN_EXCHANGE
    # A token used again later costs an error, and not the family.
    assert legacy.unknown_outcome == RetryOnce()


SAID: list[tuple[str, object, object]] = [
    ("base_scopes", ["openid", "groups"], ("groups", "openid")),
    ("base_scopes", [], ()),
    ("default_scopes", ["files.read"], ("files.read",)),
    ("audience", "files", "files"),
    ("resources", {"files": "urn:x:files"}, {"files": "urn:x:files"}),
    ("cache_ttl_seconds", 60.0, 60.0),
    ("cache_early_refresh_seconds", 0.0, 0.0),
    ("http_budget_seconds", 5.0, 5.0),
    ("takeover_margin_seconds", 1.0, 1.0),
    ("default_expires_in_seconds", 60, 60),
    ("exchange_default_expires_in_seconds", 60, 60),
    ("exchange_cap_seconds", 60, 60),
    ("honours_scope", False, False),
    ("honours_scope", True, True),
    ("single_access_token", False, False),
    ("single_access_token", True, True),
    ("family_revocation", False, False),
    ("family_revocation", True, True),
    ("revocation", False, False),
    ("revocation", True, True),
    ("absent_refresh_token", "kept", AbsentRefreshToken.KEPT),
    ("absent_refresh_token", "consumed", AbsentRefreshToken.CONSUMED),
    ("absent_refresh_expires", "never", AbsentRefreshExpires.NEVER),
    ("absent_refresh_expires", "inherit", AbsentRefreshExpires.INHERIT),
    ("exchange_strategy", "refresh", ExchangeStrategy.REFRESH),
    (
        "exchange_strategy",
        "exchange-then-refresh",
        ExchangeStrategy.EXCHANGE_THEN_REFRESH,
    ),
    ("exchange_target", "audience", ExchangeTarget.AUDIENCE),
    ("exchange_target", "resource", ExchangeTarget.RESOURCE),
]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("name", "said", "meant"), SAID)
def test_what_a_provider_says_goes_before_its_preset(
    preset: str, name: str, said: object, meant: object
) -> None:
    changed = rules(preset=preset, **{name: said})
    before = rules(preset=preset)
    assert getattr(changed, name) == meant
    others = set(ProviderRules.__dataclass_fields__) - {name}
    assert all(getattr(changed, o) == getattr(before, o) for o in others)


@pytest.mark.parametrize(
    ("rule", "seconds", "meant"),
    [
        ("quarantine", None, Quarantine()),
        ("retry_once", None, RetryOnce()),
        ("retry_within_grace", 13.0, RetryWithinGrace(13.0)),
    ],
)
def test_every_rule_for_an_unknown_outcome_can_be_said(
    rule: str, seconds: float | None, meant: UnknownOutcomeRule
) -> None:
    said = UnknownOutcomeSettings(rule, seconds)
    assert rules(preset="nextcloud-2.5", unknown_outcome=said).unknown_outcome == meant


@pytest.mark.parametrize(
    ("grace", "fits"), [(11.9, False), (12.0, False), (12.1, True)]
)
def test_a_grace_must_outlast_the_request_and_its_takeover(
    grace: float, *, fits: bool
) -> None:
    """http_budget 10 s + margin 2 s: a takeover at their end must still be in time."""
    said = UnknownOutcomeSettings("retry_within_grace", grace)
    if fits:
        assert rules(unknown_outcome=said).lease_seconds == 12
        return
    error = refused(unknown_outcome=said)
    assert error.field == "unknown_outcome"
    assert "= 12 s" in str(error)
    assert f"{grace:g} s" in str(error)


@pytest.mark.parametrize(
    ("rule", "seconds", "field"),
    [
        ("retry_within_grace", None, "seconds"),
        ("retry_once", 5.0, "seconds"),
        ("quarantine", 5.0, "seconds"),
        ("retry", None, "rule"),
    ],
)
def test_a_rule_for_an_unknown_outcome_is_said_whole(
    rule: str, seconds: float | None, field: str
) -> None:
    error = refused(unknown_outcome=UnknownOutcomeSettings(rule, seconds))
    assert error.field == f"providers.cloud.unknown_outcome.{field}"
    assert error.field in str(error)


@pytest.mark.parametrize(
    ("field", "known"),
    [
        ("preset", "generic, nextcloud-2.5, nextcloud-2.0"),
        ("absent_refresh_token", "kept, consumed"),
        ("absent_refresh_expires", "never, inherit"),
        ("exchange_strategy", "token-exchange, refresh, exchange-then-refresh"),
        ("exchange_target", "audience, resource"),
    ],
)
def test_an_unknown_word_is_refused_with_the_known_ones(field: str, known: str) -> None:
    error = refused(**{field: "nonsense"})
    assert error.field == f"providers.cloud.{field}"
    assert str(error) == f"{error.field}: 'nonsense' is none of {known}"


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e12])
@pytest.mark.parametrize(
    "field",
    [
        "cache_ttl_seconds",
        "http_budget_seconds",
        "takeover_margin_seconds",
        "default_expires_in_seconds",
        "exchange_default_expires_in_seconds",
        "exchange_cap_seconds",
    ],
)
def test_a_time_that_no_date_can_take_is_refused(field: str, value: float) -> None:
    error = refused(**{field: value})
    assert error.field == field
    assert "at most" in str(error)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_an_early_refresh_is_a_time_too(value: float) -> None:
    error = refused(cache_early_refresh_seconds=value)
    assert error.field == "cache_early_refresh_seconds"
