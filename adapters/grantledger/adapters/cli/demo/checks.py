"""What the demo promised, looked at from both sides: the ledger's and the server's."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from grantledger.adapters.cli.demo.scene import USER, Scene
from grantledger.adapters.cli.demo.story import Outcome
from grantledger.projections.audit_trail import HistoryLine


@dataclass(frozen=True, slots=True)
class Check:
    """One promise and whether it was kept."""

    what: str
    ok: bool
    detail: str


async def checks(
    scene: Scene, outcome: Outcome, lines: list[HistoryLine]
) -> list[Check]:
    """Return every check of a finished story."""
    return [
        _single_flight(outcome),
        _one_redemption(scene, lines),
        _recorded(outcome, lines),
        _nothing_after(outcome, lines),
        _upstream(scene, outcome),
        _exchange(scene, outcome),
        await _replay(scene),
        _no_token(scene),
    ]


def _single_flight(outcome: Outcome) -> Check:
    rounds = outcome.rounds or []
    return Check(
        "three calls at once cost one refresh, or none",
        [refreshes for _, refreshes in rounds] == [0, 1, 1],
        ", ".join(f"{calls} calls: {n}" for calls, n in rounds),
    )


def _one_redemption(scene: Scene, lines: list[HistoryLine]) -> Check:
    state = scene.server.state
    presented = Counter(r.sha256 for r in state.redemptions)
    outcomes = {r.outcome for r in state.redemptions}
    intents = sum(line.event == "RedemptionIntended" for line in lines)
    return Check(
        "each refresh token was redeemed once, as recorded before",
        set(presented.values()) == {1}
        and outcomes == {"rotated"}
        and len(presented) == intents,
        f"{len(presented)} tokens at the server, {intents} intents in the ledger",
    )


def _recorded(outcome: Outcome, lines: list[HistoryLine]) -> Check:
    recorded = sum(line.event == "HandedOut" for line in lines)
    return Check(
        "every token that left was recorded",
        recorded == outcome.handed_out,
        f"{outcome.handed_out} left, {recorded} recorded",
    )


def _nothing_after(outcome: Outcome, lines: list[HistoryLine]) -> Check:
    events = [line.event for line in lines]
    after = events[events.index("Revoked") :] if "Revoked" in events else events
    return Check(
        "nothing was handed out after the revocation",
        outcome.refused == "revoked"
        and "HandedOut" not in after
        and after.count("Denied") == 1,
        f"the next call: {outcome.refused or 'was answered'}",
    )


def _upstream(scene: Scene, outcome: Outcome) -> Check:
    state = scene.server.state
    ended = [
        family.ended
        for family in state.families.values()
        if family.client_id == scene.client_id and family.user == USER
    ]
    receipt = outcome.receipt
    if scene.has_extras:
        return Check(
            "the server itself says that the grant has ended",
            ended == ["revoked"]
            and outcome.dead_after
            and receipt is not None
            and receipt.confirmed,
            f"its view: {', '.join(map(str, ended)) or 'no grant'}",
        )
    return Check(
        "no revocation at the server, and the ledger says so",
        ended == [None]
        and receipt is not None
        and not receipt.confirmed
        and state.revocation_requests == 0,
        "its view: the grant is still there",
    )


def _exchange(scene: Scene, outcome: Outcome) -> Check:
    if scene.has_extras:
        what, wanted = "the session's token was exchanged", "token_exchange"
    else:
        what, wanted = (
            "no exchange at the server, and the broker says so",
            "unsupported",
        )
    return Check(what, outcome.exchange == wanted, outcome.exchange or "nothing")


async def _replay(scene: Scene) -> Check:
    ledger = scene.opened.ledger
    grant = await ledger.find(scene.key)
    replayed = await ledger.replay(grant.id) if grant else None
    ok = (
        grant is not None
        and replayed is not None
        and replayed.version == grant.version
        and replayed.state == grant.state
    )
    return Check(
        "replaying the events gives the live state",
        ok,
        f"{replayed.version if replayed else 0} events",
    )


def _no_token(scene: Scene) -> Check:
    files = [p for p in scene.place.ledger.parent.iterdir() if p.is_file()]
    found = [p.name for p in files if _holds(p, scene.tokens)]
    return Check(
        "no token stands in clear in any file of the ledger",
        not found,
        f"{len(set(scene.tokens))} tokens looked for in {len(files)} files",
    )


def _holds(path: Path, tokens: list[str]) -> bool:
    data = path.read_bytes()
    return any(token.encode() in data for token in tokens)
