"""What is left at the end, of each grant in the ledger and at the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.soak.ground import PROVIDER, Ground
from benchmarks.soak.promises import AtServer, Cause, GrantLeft
from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.devserver.tokens import sha256
from grantledger.adapters.settings import load
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import (
    Exchanged,
    LateAnswerKept,
    Provisioned,
    ReauthorizationRequired,
    RedemptionIntended,
    Rotated,
)
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.values import GrantKey, GrantStatus, TokenFingerprint

SETTLE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Left:
    """What the broker tells when the load has ended.

    Attributes:
        tokens: SHA-256 of every access token obtained, by grant and version.
    """

    grants: list[GrantLeft]
    tokens: dict[tuple[str, int], str]


async def settled(ground: Ground) -> None:
    """Wait until nothing is under way and nothing owed, two minutes at most.

    The replicas do the work; here it is only looked at. What is left then is a fault.
    """
    until = time.monotonic() + SETTLE_SECONDS
    async with open_broker(load(ground.config, {}), tend=False) as opened:
        while True:
            grants = await opened.ledger.grants()
            unsettled = sum(
                one.state.status is GrantStatus.REFRESHING
                or any(owed.open for owed in one.state.obligations)
                for one in grants
            )
            if not unsettled or time.monotonic() > until:
                return
            await asyncio.sleep(0.5)


async def left(ground: Ground, answers: Mapping[str, str]) -> Left:
    """Return every grant as the ledger has it.

    Args:
        ground: of the soak.
        answers: the last answer for each subject: the refusal, empty for a token.
    """
    grants: list[GrantLeft] = []
    tokens: dict[tuple[str, int], str] = {}
    async with open_broker(load(ground.config, {}), tend=False) as opened:
        for subject, answer in answers.items():
            grants.append(await _one(opened, subject, answer, tokens))
    return Left(grants, tokens)


async def _one(
    opened: OpenBroker, subject: str, answer: str, tokens: dict[tuple[str, int], str]
) -> GrantLeft:
    grant = await opened.ledger.find(GrantKey(PROVIDER, subject))
    if grant is None:
        return GrantLeft(subject, "", "", answer)
    history = await opened.ledger.history(grant.id)
    events = [one for _, one in history if not isinstance(one, AccessRecorded)]
    for event in events:
        if isinstance(event, Exchanged) and event.access_token is not None:
            where = (grant.id.hex, event.originator_version)
            tokens[where] = sha256(event.access_token.reveal())
    held = {
        one.fingerprint: sha256(one.refresh_token.reveal())
        for one in events
        if isinstance(one, Provisioned | Rotated | LateAnswerKept)
        and one.refresh_token is not None
    }
    state = grant.state
    return GrantLeft(
        subject=subject,
        grant=grant.id.hex,
        status=str(state.status),
        answer=answer,
        refresh=sha256(state.refresh.token.reveal()) if state.refresh else "",
        causes=tuple(_causes(events, held)),
        owed=sum(owed.open for owed in state.obligations),
        known=frozenset(held.values()),
    )


def _causes(
    events: list[GrantEvent], held: Mapping[TokenFingerprint | None, str]
) -> list[Cause]:
    found: list[Cause] = []
    for event in events:
        if not isinstance(event, ReauthorizationRequired):
            continue
        sent = [
            one
            for one in events
            if isinstance(one, RedemptionIntended) and one.attempt_id in event.attempts
        ]
        found.append(
            Cause(
                reason=str(event.reason),
                presented=tuple(held.get(one.fingerprint, "") for one in sent),
                nodes=tuple(one.node for one in sent),
            )
        )
    return found


def at_server(ground: Ground) -> AtServer:
    """Return what the server knows."""
    state = ground.server.state
    current: dict[str, set[str]] = {}
    with state.lock:
        for family in state.families.values():
            if family.ended is None and family.refresh_sha256 is not None:
                current.setdefault(family.user, set()).add(family.refresh_sha256)
        successors = {
            one.sha256: one.successor_sha256
            for one in state.redemptions
            if one.outcome == "rotated" and one.successor_sha256 is not None
        }
    return AtServer(current, successors)
