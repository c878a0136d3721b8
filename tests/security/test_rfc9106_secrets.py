"""RFC 9106: what a caller's secret costs to check says nothing of it.

By construction: every client, known or not, costs one argon2 verification, and two
secrets compare by `hmac.compare_digest` (`Secret.__eq__` has no other way).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import pytest
from argon2 import PasswordHasher

from grantledger.adapters.http.identity import Authenticator, NotAuthenticatedError
from grantledger.domain.values import AccessToken, RefreshToken, Secret
from tests.http.scene import HASH, SECRET
from tests.upstream.support import FakeClock


class Counting(PasswordHasher):
    """Counts what it verifies."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified: list[str] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - the library's name
        self.verified.append(str(hash))
        return super().verify(hash, password)


@pytest.mark.parametrize(
    ("client_id", "secret"),
    [("scanner", "wrong"), ("nobody", SECRET), ("", ""), ("scanner", SECRET + "x")],
)
async def test_an_unknown_client_costs_as_much_as_a_wrong_secret(
    client_id: str, secret: str
) -> None:
    hasher = Counting()
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    who = Authenticator([], {"scanner": HASH}, clock, hasher=hasher)
    for _ in range(2):
        with pytest.raises(NotAuthenticatedError):
            await who.client(client_id, Secret(secret))
    assert len(hasher.verified) == 2
    assert all(one.startswith("$argon2id$") for one in hasher.verified)


def test_secrets_are_equal_by_kind_and_value_and_by_nothing_less() -> None:
    assert AccessToken("a\ud800") == AccessToken("a\ud800")
    assert AccessToken("a") != AccessToken("b")
    assert AccessToken("a") != AccessToken("aa")
    assert AccessToken("a") != RefreshToken("a")
    assert AccessToken("a") != "a"
