"""Rules that would break a promise are refused, by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from grantledger.domain.errors import ConfigurationError, InvalidTarget
from grantledger.domain.provider import (
    MAX_SECONDS,
    ProviderRules,
    Quarantine,
    RetryWithinGrace,
)
from tests.domain.arrange import RULES

TABLE = replace(RULES, resources={"cloud": "https://cloud.example/"})
WRONG = [0.0, -1.0, float("nan"), float("inf"), MAX_SECONDS * 2]


def with_seconds(name: str, value: float) -> ProviderRules:
    match name:
        case "cache_ttl_seconds":
            return replace(RULES, cache_ttl_seconds=value)
        case "http_budget_seconds":
            return replace(RULES, http_budget_seconds=value)
        case "takeover_margin_seconds":
            return replace(RULES, takeover_margin_seconds=value)
        case "default_expires_in_seconds":
            return replace(RULES, default_expires_in_seconds=value)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - a wrong setting
        case "exchange_default_expires_in_seconds":
            return replace(RULES, exchange_default_expires_in_seconds=value)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - a wrong setting
        case _:
            return replace(RULES, exchange_cap_seconds=value)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - a wrong setting


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize(
    "name",
    [
        "cache_ttl_seconds",
        "http_budget_seconds",
        "takeover_margin_seconds",
        "default_expires_in_seconds",
        "exchange_default_expires_in_seconds",
        "exchange_cap_seconds",
    ],
)
def test_a_time_that_is_none_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=name) as raised:
        with_seconds(name, value)
    assert raised.value.field == name


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_an_early_refresh_that_is_no_time_is_refused(value: float) -> None:
    with pytest.raises(ConfigurationError, match="cache_early_refresh_seconds"):
        replace(RULES, cache_early_refresh_seconds=value)


def test_no_early_refresh_at_all_is_allowed() -> None:
    rules = replace(RULES, cache_early_refresh_seconds=0.0)
    assert rules.cache_early_refresh_seconds == 0.0


def test_the_defaults_of_the_earlier_broker_hold() -> None:
    """Rows 1, 6 and 13."""
    assert (RULES.cache_ttl_seconds, RULES.cache_early_refresh_seconds) == (300, 30)
    assert RULES.default_expires_in_seconds == 3600
    assert RULES.exchange_default_expires_in_seconds == 300


def test_without_a_word_about_it_no_token_is_sent_twice() -> None:
    assert isinstance(RULES.unknown_outcome, Quarantine)


def test_the_lease_covers_the_request_and_a_margin() -> None:
    rules = replace(RULES, http_budget_seconds=7.0, takeover_margin_seconds=3.0)
    assert rules.lease_seconds == 10.0


@pytest.mark.parametrize("grace", [5.0, 12.0, float("nan"), float("inf")])
def test_a_grace_that_is_over_before_a_takeover_is_refused(grace: float) -> None:
    with pytest.raises(ConfigurationError) as raised:
        replace(RULES, unknown_outcome=RetryWithinGrace(grace))
    assert raised.value.field == "unknown_outcome"


def test_a_grace_longer_than_the_lease_is_accepted() -> None:
    rules = replace(RULES, unknown_outcome=RetryWithinGrace(12.5))
    assert rules.unknown_outcome == RetryWithinGrace(12.5)


def test_an_audience_is_known_by_its_resource() -> None:
    assert TABLE.resource_for("cloud") == "https://cloud.example/"


def test_a_uri_is_its_own_resource() -> None:
    assert TABLE.resource_for("https://other.example") == "https://other.example"


def test_no_audience_has_no_resource() -> None:
    assert TABLE.resource_for(None) is None


@pytest.mark.parametrize("audience", ["mail", "https://cloud.example/#part", ""])
def test_an_audience_that_the_table_lacks_is_refused(audience: str) -> None:
    """RFC 8707 section 2: no fragment."""
    with pytest.raises(InvalidTarget, match="known: cloud"):
        TABLE.resource_for(audience)


def test_an_empty_table_says_so() -> None:
    with pytest.raises(InvalidTarget, match="known: none"):
        RULES.resource_for("cloud")
