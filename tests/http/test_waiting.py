"""What waits in a browser: not for long, so many at once, each kind by itself."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta

from grantledger.adapters.http.browser_cookies import BrowserCookies
from grantledger.adapters.http.waiting import Waiting, WaitingRoom
from grantledger.adapters.keys.cookies import CookieSealer
from grantledger.adapters.keys.ring import KeyRing

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = NOW + timedelta(seconds=600)
COOKIES = BrowserCookies(
    CookieSealer(KeyRing.generate(os.urandom, NOW), os.urandom), secure=True
)
ROOM = WaitingRoom(COOKIES, "consent", "taken", most=2, characters=6000)
OTHER = WaitingRoom(COOKIES, "sign-in", "taken", most=2, characters=6000)


def waiting(state: str, ends: datetime = LATER) -> Waiting:
    return Waiting(
        state=state, nonce="n", code_verifier="v", scopes=("openid",), expires_at=ends
    )


def browser(*lines: str) -> dict[str, str]:
    """Return the cookies of a browser that was told these, one after the other."""
    kept: dict[str, str] = {}
    for line in lines:
        found = re.match(r"([^=]+)=([^;]*); .*Max-Age=([0-9]+)", line)
        assert found is not None
        kept.pop(found[1], None)
        if found[3] != "0":
            kept[found[1]] = found[2]
    return kept


def test_it_is_found_by_its_state_until_its_end_and_by_its_own_kind() -> None:
    (line,) = ROOM.wait(waiting("a"), {}, NOW)
    assert all(part in line for part in ("__Host-", "HttpOnly", "Lax", "; Secure"))
    kept = browser(line)
    assert ROOM.waiting("a", kept, NOW) == waiting("a")
    assert ROOM.waiting("a", kept, LATER) is None
    assert ROOM.waiting("b", kept, NOW) is None
    ((name, value),) = kept.items()
    renamed = {name.replace("consent", "sign-in"): value}
    assert OTHER.waiting("a", renamed, NOW) is None
    assert browser(line, ROOM.over("a")) == {}


def test_the_oldest_and_the_ended_make_room() -> None:
    lines = ROOM.wait(waiting("a", NOW + timedelta(seconds=1)), {}, NOW)
    lines += ROOM.wait(waiting("b", NOW + timedelta(seconds=2)), browser(*lines), NOW)
    full = browser(*lines, *ROOM.wait(waiting("c"), browser(*lines), NOW))
    assert [bool(ROOM.waiting(s, full, NOW)) for s in "abc"] == [False, True, True]
    soon = NOW + timedelta(seconds=3)
    lines = ROOM.wait(waiting("d"), full, soon)
    assert sum("Max-Age=0" in line for line in lines) == 1, "what is over goes"
