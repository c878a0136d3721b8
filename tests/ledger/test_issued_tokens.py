"""What is remembered of tokens is bounded, and dropped with its grant."""

from __future__ import annotations

from uuid import UUID

from grantledger.adapters.ledger.issued_tokens import MAX_TOKENS, IssuedTokens
from grantledger.domain.values import TokenFingerprint
from grantledger.projections.audit_folded import Issued


def issued(number: int) -> Issued:
    return Issued(TokenFingerprint(f"hmac-sha256:k:{number}"), None, ("a",))


def test_it_tells_of_the_token_of_that_version_alone() -> None:
    kept = IssuedTokens()
    kept.keep(UUID(int=1), 4, issued(1))
    assert kept.get(UUID(int=1), 4) == issued(1)
    assert kept.get(UUID(int=1), 5) is None
    assert kept.get(UUID(int=2), 4) is None


def test_those_that_were_kept_first_give_way() -> None:
    kept = IssuedTokens(most=2)
    for number in range(3):
        kept.keep(UUID(int=number), 4, issued(number))
    assert len(kept) == 2
    assert kept.get(UUID(int=0), 4) is None
    for version in range(5, 5 + MAX_TOKENS):
        kept.keep(UUID(int=2), version, issued(version))
    assert kept.get(UUID(int=2), 4) is None
    assert kept.get(UUID(int=2), 5) == issued(5)
    assert kept.get(UUID(int=1), 4) == issued(1)


def test_a_grant_is_forgotten_whole() -> None:
    kept = IssuedTokens()
    for version in (4, 7):
        kept.keep(UUID(int=1), version, issued(version))
    kept.forget(UUID(int=1))
    kept.forget(UUID(int=9))
    assert (len(kept), kept.get(UUID(int=1), 7)) == (0, None)


def test_all_of_it_is_forgotten_where_the_log_is_not_the_one_known() -> None:
    kept = IssuedTokens()
    kept.keep(UUID(int=1), 4, issued(1))
    kept.clear()
    assert (len(kept), kept.get(UUID(int=1), 4)) == (0, None)
