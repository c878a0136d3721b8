"""Every point at which a process is killed, operation by operation.

An operation is a row of steps: calls of ports. A step has places. A call that only
reads has one, `called`: until the next call nothing happens that outlives the
process. A write has more, and they are the store's; a request has those of the wire.
`test_points` proves that a living process passes these points and no others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tests.crash.ground import CROWDED

PLACES = (
    "called",
    "begun",
    "inserted",
    "committing",
    "asked",
    "committed",
    "returned",
)
"""Those of a transaction, on whichever store."""

LOCKED = ("called", "begun", "inserted", "asked", "committed", "returned")
"""PostgreSQL, the log locked first: COMMIT is `asked` for, and not yet answered."""

WRITES: Mapping[str, tuple[str, ...]] = {
    "sqlite": ("called", "begun", "inserted", "committing", "committed", "returned"),
    # One call is the whole transaction.
    "postgresql": ("called", "asked", "committed", "returned"),
    CROWDED: LOCKED,
}


@dataclass(frozen=True)
class Step:
    """A call of a port.

    Attributes:
        requests: what goes over the wire in it, oldest first.
        writes: whether a transaction is in it.
        locked: the transaction locks the log first, whoever else writes.
        returns: whether what it did outlives the process.
        printed: the answer leaves the process.
    """

    name: str
    requests: tuple[str, ...] = ()
    writes: bool = False
    locked: bool = False
    returns: bool = False
    printed: bool = False

    def places(self, kind: str) -> tuple[str, ...]:
        """Return the places in it, in the order of passing; `kind` empty: of all."""
        if self.writes and not kind:
            return PLACES
        if self.writes:
            locked = self.locked and kind != "sqlite"
            return LOCKED if locked else WRITES[kind]
        if self.printed:
            return ("called", "printed")
        wire = [
            f"{request} {place}"
            for request in self.requests
            for place in ("received", "answered", "half")
            # A confirmed revocation has no body that could come in halves.
            if (request, place) != ("revocation", "half")
        ]
        return ("called", *wire, *(("returned",) if self.returns else ()))


def reads(name: str) -> Step:
    """Return a call that changes nothing."""
    return Step(name)


def writes(name: str, *, locked: bool = False) -> Step:
    """Return a call that stores."""
    return Step(name, writes=True, locked=locked)


def asks(name: str, *requests: str) -> Step:
    """Return a call that asks the server."""
    return Step(name, requests, returns=True)


ANSWER = (Step("answer", printed=True),)
PROVEN = (writes("record handed_out"), reads("is_newest"), *ANSWER)
"""A token leaves: recorded, still the newest, printed."""

INTENT = writes("append RedemptionIntended")
OUTCOME = writes("append Rotated+Exchanged")


def redeeming(
    *requests: str, reading: tuple[Step, ...] = (reads("get"),)
) -> tuple[Step, ...]:
    """Return the steps of one redemption that the server grants."""
    return (*reading, INTENT, asks("redeem", *requests), reads("get"), OUTCOME)


FRESH = ("metadata", "token")
"""What a process asks that has asked nothing before."""

KNOWN = ("token",)

REVOKED = "append Revoked"
ABANDONED = f"{REVOKED}+UpstreamRevocationAbandoned"
CONFIRMED = writes("append UpstreamRevocationConfirmed")
SETTLES = (
    reads("get"),
    Step("claim", returns=True),
    reads("get"),
    asks("revoke", "revocation"),
    reads("get"),
    CONFIRMED,
    reads("get"),
)
LEASE_OVER = (
    reads("find"),
    reads("get"),
    reads("changed"),
    reads("get"),
    writes("append RedemptionFailed", locked=True),
)
"""A dead holder's intent is watched for its lease, and then declared lost."""

ROWS: Mapping[str, tuple[Step, ...]] = {
    "redeem": (reads("find"), *redeeming(*FRESH), *PROVEN),
    "rotate": (reads("find"), *redeeming(*KNOWN), *ANSWER),
    "provision": (
        reads("find"),
        writes("append Provisioned", locked=True),
        *ANSWER,
    ),
    "consent": (
        Step("code", ("token", "keys")),
        reads("find"),
        writes("append Provisioned+Exchanged"),
        *ANSWER,
    ),
    "consent, no endpoint": (
        Step("code", ("token", "keys")),
        reads("find"),
        writes("append Provisioned+UpstreamRevocationAbandoned+Exchanged"),
        *ANSWER,
    ),
    "exchange": (
        Step("verify", ("keys",)),
        reads("find"),
        writes("record exchange_intended"),
        reads("is_newest"),
        asks("exchange", "token"),
        reads("find"),
        *PROVEN,
    ),
    "exchange, falls back": (
        Step("verify", ("keys",)),
        reads("find"),
        writes("record exchange_intended"),
        reads("is_newest"),
        asks("exchange"),
        writes("record exchange_failed"),
        reads("find"),
        *redeeming(*KNOWN),
        *PROVEN,
    ),
    "revoke": (
        reads("find"),
        writes(REVOKED),
        *SETTLES,
        reads("hand_outs"),
        *ANSWER,
    ),
    "revoke, no endpoint": (
        reads("find"),
        writes(ABANDONED),
        reads("get"),
        reads("hand_outs"),
        *ANSWER,
    ),
    "hand-out": PROVEN,
    "obligation": (*SETTLES, *ANSWER),
    "spool": (
        reads("find"),
        *redeeming(*FRESH)[:-1],
        Step("refused Rotated+Exchanged"),
        Step("spool", returns=True),
        reads("get"),
        OUTCOME,
        Step("unspool", returns=True),
        *PROVEN,
    ),
    "takeover": (*LEASE_OVER, *redeeming(*FRESH), *PROVEN),
    # A task of its own sees to it that the grace is used, whoever asks.
    "takeover, in grace": (
        *LEASE_OVER,
        reads("get"),
        *redeeming(*FRESH),
        *PROVEN[:-1],
        reads("get"),
        *ANSWER,
    ),
    "last try": (
        *LEASE_OVER,
        *redeeming(*FRESH)[:-1],
        writes("append RedemptionFailed+ReauthorizationRequired"),
        writes("record denied"),
        *ANSWER,
    ),
}
"""By name of the row."""


@dataclass(frozen=True)
class Case:
    """A row, and where it holds.

    Attributes:
        operation: what the process does (see `operations.OPERATIONS`).
        row: its steps (see `ROWS`).
        providers: at whose servers.
        first: where an earlier process died on the same grant, empty for nowhere.
    """

    operation: str
    row: str
    providers: str
    first: str = ""


NOT_SENT = "redeem: called"
ANSWER_LOST = "redeem: returned"

CASES = (
    Case("redeem", "redeem", "abg"),
    Case("rotate", "rotate", "abg"),
    Case("provision", "provision", "abg"),
    Case("consent", "consent", "bg"),
    Case("consent", "consent, no endpoint", "a"),
    Case("exchange", "exchange", "bg"),
    Case("exchange", "exchange, falls back", "a"),
    Case("revoke", "revoke", "bg"),
    Case("revoke", "revoke, no endpoint", "a"),
    Case("hand-out", "hand-out", "abg"),
    Case("obligation", "obligation", "bg"),
    Case("spool", "spool", "abg"),
    Case("takeover", "takeover", "ab", NOT_SENT),
    Case("takeover", "takeover, in grace", "g", ANSWER_LOST),
    Case("last-try", "last try", "ab", ANSWER_LOST),
)


def points(row: str, kind: str) -> tuple[str, ...]:
    """Return the points of a row on a store, in the order of passing.

    `kind` empty: on all stores.
    """
    seen: Counter[str] = Counter()
    found: list[str] = []
    for step in ROWS[row]:
        seen[step.name] += 1
        number = seen[step.name]
        name = step.name if number == 1 else f"{step.name} #{number}"
        found += [f"{name}: {place}" for place in step.places(kind)]
    return tuple(found)
