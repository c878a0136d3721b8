"""Which tokens are refreshed before anybody misses them."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from grantledger.domain.grant_state import HeldAccessToken
from grantledger.domain.held_tokens import Pick
from grantledger.domain.hot import MAX_TOKENS, HotTokens
from grantledger.domain.values import AccessToken, TokenFingerprint
from tests.domain.arrange import GRANT_ID, NOW

USABLE = 300.0


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def token(version: int = 4) -> HeldAccessToken:
    return HeldAccessToken(
        token=AccessToken("at1"),
        fingerprint=TokenFingerprint("f"),
        asked=("openid",),
        scopes=("openid",),
        audience=None,
        obtained_at=NOW,
        expires_at=later(900),
        generation=1,
        version=version,
    )


def noted(
    hot: HotTokens,
    *at: float,
    usable: float = USABLE,
    grant_id: UUID = GRANT_ID,
    version: int = 4,
) -> None:
    pick = Pick(token(version), later(usable), ())
    for seconds in at:
        hot.note(grant_id, "cloud", pick, later(seconds))


def test_it_is_due_shortly_before_it_counts_as_missing() -> None:
    hot = HotTokens()
    noted(hot, 200, 210, 220)
    assert hot.due(later(269), 3) == []
    (found,) = hot.due(later(286), 3)
    assert (found.grant_id, found.version, found.asked) == (GRANT_ID, 4, ("openid",))


def test_it_is_due_once() -> None:
    hot = HotTokens()
    noted(hot, 200, 210, 220)
    assert len(hot.due(later(290), 3)) == 1
    assert hot.due(later(291), 3) == []
    assert len(hot) == 0


def test_what_few_have_asked_for_is_left_to_who_asks_next() -> None:
    hot = HotTokens()
    noted(hot, 200, 210)
    assert hot.due(later(290), 3) == []


def test_what_nobody_asks_for_any_more_is_not_refreshed() -> None:
    hot = HotTokens()
    noted(hot, 1, 2, 3)
    assert hot.due(later(290), 3) == []
    assert len(hot) == 0


def test_what_is_missing_already_is_left_to_who_asks_next() -> None:
    hot = HotTokens()
    noted(hot, 200, 210, 220)
    assert hot.due(later(USABLE), 3) == []


def test_a_token_that_hardly_lives_is_not_refreshed_ahead() -> None:
    hot = HotTokens()
    noted(hot, 1, 2, 3, usable=9.0)
    assert hot.due(later(8.9), 3) == []


def test_tokens_got_together_are_not_refreshed_together() -> None:
    hot = HotTokens()
    for n in range(100):
        noted(hot, 200, 210, 220, grant_id=UUID(int=n))
    at_a_time = [len(hot.due(later(269 + second), 3)) for second in range(18)]
    assert sum(at_a_time) == 100
    assert max(at_a_time) <= 20


def test_the_table_is_bounded_and_the_longest_unasked_for_leaves_first() -> None:
    hot = HotTokens()
    for n in range(MAX_TOKENS):
        noted(hot, 200, 210, 220, grant_id=UUID(int=n))
    noted(hot, 230, grant_id=UUID(int=0))
    noted(hot, 240, 250, 260, grant_id=UUID(int=MAX_TOKENS))
    assert MAX_TOKENS // 2 < len(hot) <= MAX_TOKENS
    left = {found.grant_id.int for found in hot.due(later(290), 3)}
    assert {0, MAX_TOKENS} <= left
    assert 1 not in left


def test_what_was_forgotten_is_counted_anew() -> None:
    """Such as a token whose refresh has failed, and that is still asked for."""
    hot = HotTokens()
    pick = Pick(token(), later(USABLE), ())
    for seconds in (200, 210, 220):
        hot.note(GRANT_ID, "cloud", pick, later(seconds))
    assert len(hot.due(later(286), 3)) == 1
    hot.note(GRANT_ID, "cloud", pick, later(287))
    assert hot.due(later(288), 3) == []
    for seconds in (289, 290, 291):
        hot.note(GRANT_ID, "cloud", pick, later(seconds))
    assert len(hot.due(later(292), 3)) == 1


def test_a_token_that_is_picked_twice_is_one() -> None:
    """As by two requests with other scopes, that it answers both."""
    hot = HotTokens()
    for seconds in (200, 210, 220):
        noted(hot, seconds)
    assert len(hot) == 1
    assert len(hot.due(later(286), 3)) == 1
