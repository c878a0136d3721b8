"""Evidence of healthy lives, doctored so that the verdict has to say something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from grantledger.adapters.devserver.records import Outcome
from grantledger.domain.grant_events import RedemptionIntended
from grantledger.domain.values import TokenKind
from tests.crash.left import Left

LIVES = {
    "revoked": ("revoke", "b", ""),
    "retried": ("redeem", "g", "redeem: returned"),
    "lost": ("redeem", "b", "redeem: returned"),
}
"""By name: the row of a life, its server, and where it dies."""

NOBODY = UUID(int=0)


def none_owed(found: Left) -> Left:
    assert found.state is not None
    return replace(found, state=replace(found.state, obligations=()))


def owed_without(kind: TokenKind) -> Callable[[Left], Left]:
    """Return what drops the obligations for tokens of one kind."""

    def dropped(found: Left) -> Left:
        assert found.state is not None
        kept = tuple(o for o in found.state.obligations if o.kind is not kind)
        return replace(found, state=replace(found.state, obligations=kept))

    return dropped


def still_owed(found: Left) -> Left:
    assert found.state is not None
    first, *others = found.state.obligations
    opened = (replace(first, confirmed=None), *others)
    return replace(found, state=replace(found.state, obligations=opened))


def family_alive(found: Left) -> Left:
    """The server knows of no presentation, and has ended nothing."""
    families = {k: replace(f, ended=None) for k, f in found.families.items()}
    return replace(found, families=families, redemptions=[])


def retrying(attempt: UUID | None) -> Callable[[Left], Left]:
    """Return what has the second attempt name another one."""

    def doctored(found: Left) -> Left:
        (index, second) = [
            (n, event)
            for n, (_, event) in enumerate(found.events)
            if isinstance(event, RedemptionIntended)
        ][1]
        said: dict[str, Any] = {**vars(second), "retry_of": attempt}
        other = RedemptionIntended(**said)
        events = list(found.events)
        events[index] = (events[index][0], other)
        return replace(found, events=events)

    return doctored


def presented(outcome: Outcome) -> Callable[[Left], Left]:
    """Return what has the server tell of the last presentation so."""

    def doctored(found: Left) -> Left:
        *before, last = found.redemptions
        told = replace(last, outcome=outcome)
        return replace(found, redemptions=[*before, told])

    return doctored


def presented_again(found: Left) -> Left:
    return replace(found, redemptions=[*found.redemptions, found.redemptions[-1]])


EVIDENCE: dict[str, tuple[str, Callable[[Left], Left], str]] = {
    "no obligation": ("revoked", none_owed, "nothing is owed to the server"),
    "no obligation for the refresh token": (
        "revoked",
        owed_without(TokenKind.REFRESH),
        "the refresh_token held at the end was never owed",
    ),
    "no obligation for the access token": (
        "revoked",
        owed_without(TokenKind.ACCESS),
        "the access_token held at the end was never owed",
    ),
    "an open obligation": ("revoked", still_owed, "the refresh_token is still owed"),
    "a family that lives": (
        "revoked",
        family_alive,
        "the server has not ended the grant",
    ),
    "two attempts that do not know each other": (
        "retried",
        retrying(None),
        "sent again without naming the attempt that it retries",
    ),
    "a retry of somebody else's attempt": (
        "retried",
        retrying(NOBODY),
        "sent again without naming the attempt that it retries",
    ),
    "a token redeemed by two attempts": (
        "retried",
        presented("rotated"),
        "redeemed twice",
    ),
    "a token sent after the grace": (
        "retried",
        presented("already_used"),
        "sent again after the server's grace",
    ),
    "a token sent once more than the rule allows": (
        "lost",
        presented_again,
        "sent 3 times to a server without grace",
    ),
}
"""By what was doctored: whose evidence, how, and what is said of it."""
