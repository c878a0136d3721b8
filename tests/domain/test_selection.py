"""A selection says something, and nothing that is out of bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from grantledger.domain.bulk import Selection
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.fleet import GrantFilter
from grantledger.domain.values import AccessToken
from tests.domain.arrange import NOW

NAIVE = datetime(2026, 3, 1)  # noqa: DTZ001 - without a zone on purpose


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("selection", {}),
        ("provider", {"provider": ""}),
        ("provider", {"provider": "x" * 129}),
        ("provider", {"subject": "alice"}),
        ("client_id", {"client_id": "x" * 513}),
        ("scope", {"scope": "x" * 257}),
        ("label", {"label": ""}),
        ("caller", {"caller": "x" * 129}),
        ("fingerprint", {"fingerprint": "x" * 201}),
        ("token", {"token": AccessToken("")}),
        ("since", {"since": NAIVE}),
        ("until", {"until": NAIVE}),
        ("since", {"since": datetime.min.replace(tzinfo=UTC)}),
        ("until", {"until": datetime.max.replace(tzinfo=UTC)}),
        ("until", {"since": NOW, "until": NOW}),
        ("until", {"since": NOW, "until": NOW - timedelta(hours=1)}),
    ],
)
def test_a_selection_that_is_out_of_bounds_is_refused(
    field: str, said: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Selection(**said)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("consented_from", {"consented_from": NAIVE}),
        ("modified_until", {"modified_until": NAIVE}),
        ("consented_until", {"consented_from": NOW, "consented_until": NOW}),
        ("modified_until", {"modified_from": NOW, "modified_until": NOW}),
        ("subject", {"provider": "cloud", "subject": "x" * 513}),
    ],
)
def test_a_filter_that_is_out_of_bounds_is_refused(
    field: str, said: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        GrantFilter(**said)
    assert refused.value.field == field


def test_a_token_shows_itself_nowhere() -> None:
    assert "secret" not in repr(Selection(token=AccessToken("secret")))
