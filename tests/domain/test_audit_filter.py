"""What an audit filter refuses, and what it leaves out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from grantledger.domain.audit import AuditFilter, node_and_build, node_with_build
from grantledger.domain.errors import InvalidRequest

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"subject": "alice"}, "provider"),
        ({"provider": "cloud", "label": "work"}, "subject"),
        ({"provider": ""}, "provider"),
        ({"address": "1" * 65}, "address"),
        ({"recorded_from": NOON.replace(tzinfo=None)}, "recorded_from"),
        ({"recorded_from": NOON, "recorded_until": NOON}, "recorded_until"),
        ({"below": -1}, "below"),
    ],
)
def test_what_cannot_be_meant_is_refused(said: dict[str, Any], field: str) -> None:
    """The error names the field."""
    with pytest.raises(InvalidRequest) as caught:
        AuditFilter(**said)
    assert caught.value.field == field


def test_only_a_filter_that_leaves_nothing_out_is_complete() -> None:
    """A filtered answer proves no range."""
    assert AuditFilter().complete
    assert not AuditFilter(caller="backup").complete


@pytest.mark.parametrize(
    ("said", "name", "build"),
    [
        ("0.4.1@office-0", "office-0", "0.4.1"),
        ("1.0.0rc1+local@a@b", "a@b", "1.0.0rc1+local"),
        ("office-0", "office-0", None),
        ("office@home", "office@home", None),
    ],
)
def test_a_replica_says_which_program_it_runs(
    said: str, name: str, build: str | None
) -> None:
    """Events from before that say the name alone."""
    assert node_and_build(said) == (name, build)
    if build is not None:
        assert node_with_build(name, build) == said
