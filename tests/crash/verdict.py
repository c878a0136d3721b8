"""What a crash left, against what the server knows: an outcome, or violations."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.bootstrap.ledgers import spool_of
from grantledger.adapters.cli.grant_check import check_grants
from grantledger.adapters.cli.leaf_check import check_leaves
from grantledger.adapters.devserver.tokens import sha256
from grantledger.adapters.settings import load
from grantledger.domain.grant_events import (
    Exchanged,
    Provisioned,
    ReauthorizationRequired,
    RedemptionIntended,
    Revoked,
    Rotated,
    UpstreamRevocationConfirmed,
)
from grantledger.domain.grant_state import GrantState
from grantledger.domain.values import (
    GrantStatus,
    Outcome,
    ReauthorizationReason,
    TokenFingerprint,
    TokenKind,
)
from tests.contract.stores import proven
from tests.crash.ground import Ground
from tests.crash.left import Left, left
from tests.crash.recovering import Answered
from tests.crash.rounds import ANYWHERE, Death

UNTOUCHED = "untouched"
COMPLETE = "complete"
RETRIED = "retried"
SPOOLED = "from the spool"
SETTLED = "settled later"
CONSENT = "consent again"
UNFINISHED = "known open"
VIOLATION = "violations"
OUTCOMES = (
    UNTOUCHED,
    COMPLETE,
    RETRIED,
    SPOOLED,
    SETTLED,
    CONSENT,
    UNFINISHED,
    VIOLATION,
)

STORED = {"committed", "returned"}
UNKNOWN = {"asked"}
"""Places of a transaction after which it is durable; after which nobody knows."""

OPEN = {Outcome.EXCHANGE_INTENDED}
"""What a journal says of an exchange under way."""

TRIES_WITHOUT_GRACE = 2
"""The Nextcloud presets ask once more after silence."""

Wrong = Iterator[str]


@dataclass(frozen=True)
class Judged:
    """A death, what became of the operation, and what is wrong with that."""

    death: Death
    outcome: str
    wrong: list[str]

    @property
    def killed(self) -> bool:
        """Whether it was killed; one that is to die anywhere may end before."""
        return self.death.ended[-1].status == -signal.SIGKILL

    def __str__(self) -> str:
        return f"{self.death.kill}: {'; '.join(self.wrong) or self.outcome}"


async def judge(
    ground: Ground, deaths: Sequence[Death], answers: Sequence[Answered]
) -> list[Judged]:
    """Judge each death; what holds for the whole ledger is proven first.

    Raises:
        IntegrityError, AssertionError: log, rows or spool are not as they must be.
    """
    proven(ground.store)
    settings = load(ground.config(), {})
    judged: list[Judged] = []
    async with open_broker(settings, tend=False) as opened:
        leaves = await check_leaves(opened.ledger)
        await check_grants(opened.ledger, leaves.grant_streams)
        for death, answered in zip(deaths, answers, strict=True):
            found = await left(ground, opened, death, answered)
            judged.append(Judged(death, *verdict(found)))
    spool = spool_of(settings)
    assert not list(spool.glob("*.answer")), "what was spooled has been brought home"
    return judged


def verdict(found: Left) -> tuple[str, list[str]]:
    """Return the outcome, and every violation in words."""
    wrong = [
        *died_where_told(found),
        *kept_what_was_committed(found),
        *hands_out_what_is_recorded(found),
        *replays_nothing_blindly(found),
        *agrees_with_the_server(found),
        *ends_what_was_revoked(found),
        *exchanges_what_was_intended(found),
    ]
    return (VIOLATION if wrong else outcome(found)), wrong


def died_where_told(found: Left) -> Wrong:
    death = found.death
    point = death.kill.point
    if not point:
        if death.ended[-1].status != 0:
            yield f"a process that was to live ended with {death.ended[-1].status}"
        return
    status = death.ended[-1].status
    if point == ANYWHERE:
        if status not in (0, -signal.SIGKILL):
            yield f"ended with {status}"
        return
    if status != -signal.SIGKILL:
        yield f"not killed: ended with {status}"
    if not death.trace.points or death.trace.points[-1] != point:
        yield f"died after {death.trace.points[-1:]}"


def kept_what_was_committed(found: Left) -> Wrong:
    """An acknowledged commit is there; what had not asked for its commit is not.

    A process that dies anywhere may have asked before it could write that down.
    """
    anywhere = found.death.kill.point == ANYWHERE
    for number, trace in enumerate(found.death.traces):
        appends: Counter[str] = Counter()
        records: Counter[str] = Counter()
        unknown: Counter[str] = Counter()
        for step in dict.fromkeys(p.rpartition(": ")[0] for p in trace.points):
            kind, _, rest = step.partition(" ")
            if kind not in ("append", "record"):
                continue
            said = rest.partition(" #")[0].split("+")
            places = trace.of_step(step)
            if places & STORED:
                (appends if kind == "append" else records).update(said)
            elif anywhere or places & UNKNOWN:
                unknown.update(said)
        events = Counter(type(event).__name__ for event in found.by(number))
        entries = Counter(str(entry.outcome) for entry in found.recorded_by(number))
        for name, there in (
            *((n, events[n]) for n in {*appends, *events}),
            *((n, entries[n]) for n in {*records, *entries}),
        ):
            stored = appends[name] + records[name]
            if not stored <= there <= stored + unknown[name]:
                yield (
                    f"{there} {name} in the ledger; {stored} were committed, "
                    f"{unknown[name]} perhaps"
                )


def hands_out_what_is_recorded(found: Left) -> Wrong:
    """Whatever left a process was recorded by it, each time."""
    tokens = {
        event.originator_version: sha256(event.access_token.reveal())
        for event in found.of(Exchanged)
    }
    nodes = tuple(f"-{one.pid}" for one in found.death.ended)
    recorded: Counter[str] = Counter()
    others: set[str] = set()
    for _, node, entry in found.entries:
        if entry.outcome is not Outcome.HANDED_OUT:
            continue
        token = tokens.get(entry.token_ref or 0, "")
        if entry.private is not None and entry.private.fingerprint is not None:
            token = found.printed.get(entry.private.fingerprint, "")
        if node.endswith(nodes):
            recorded[token] += 1
        else:
            others.add(token)
    for token, times in Counter(map(sha256, found.death.told)).items():
        if times > recorded[token]:
            yield f"a token left {times} times and was recorded {recorded[token]} times"
    if found.answered.token and found.answered.token not in others:
        yield "the fresh process handed out what it has not recorded"


def replays_nothing_blindly(found: Left) -> Wrong:
    """A refresh token is sent once, or again as its provider's rule says."""
    intents: dict[str, list[Any]] = {}
    for event in found.of(RedemptionIntended):
        intents.setdefault(found.tokens[event.fingerprint], []).append(event)
    sent: dict[str, list[Any]] = {}
    for one in found.redemptions:
        sent.setdefault(one.sha256, []).append(one)
    grace = found.death.kill.provider == "g"
    for token, presented in sent.items():
        intended = intents.get(token, [])
        if len(presented) > len(intended):
            yield f"sent {len(presented)} times, intended {len(intended)} times"
        known: set[Any] = {event.attempt_id for event in intended[:1]}
        for event in intended[1:]:
            if event.retry_of not in known:
                yield "sent again without naming the attempt that it retries"
            known.add(event.attempt_id)
        if [one.outcome for one in presented].count("rotated") > 1:
            yield "redeemed twice"
        if not grace and len(presented) > TRIES_WITHOUT_GRACE:
            yield f"sent {len(presented)} times to a server without grace"
        if grace and any(one.outcome != "reissued" for one in presented[1:]):
            yield "sent again after the server's grace"


def agrees_with_the_server(found: Left) -> Wrong:
    """The token in use is the server's own, or consent is asked for with evidence."""
    state, said = found.state, found.answered
    if state is None:
        if said.refused != "not_provisioned":
            yield f"no grant, and the answer is {said.refused or 'a token'}"
        return
    if state.status is GrantStatus.ACTIVE and state.refresh is not None:
        mine = sha256(state.refresh.token.reveal())
        if mine not in {
            f.refresh_sha256 for f in found.families.values() if not f.ended
        }:
            yield "the refresh token in use is not the server's"
        if not said.token:
            yield f"active, and the answer is {said.refused} {said.reason}"
        elif said.token not in found.live:
            yield "the token handed out is not live at the server"
    elif state.status is GrantStatus.REAUTHORIZATION_REQUIRED:
        yield from consent_is_due(found)
    elif state.status is not GrantStatus.REVOKED:
        yield f"the grant is left {state.status}"


def consent_is_due(found: Left) -> Wrong:
    """Nothing else could save the grant, and the evidence says what happened."""
    (why,) = found.of(ReauthorizationRequired)
    intents = found.of(RedemptionIntended)
    dead = {event.attempt_id for event in intents}
    if why.reason is not ReauthorizationReason.AMBIGUOUS_OUTCOME:
        yield f"consent is asked for because of {why.reason}"
    if not why.attempts or not dead.issuperset(why.attempts):
        yield "the evidence does not name the attempts"
    if found.answered.reason != ReauthorizationReason.AMBIGUOUS_OUTCOME:
        yield f"the caller is told {found.answered.refused} {found.answered.reason}"
    if found.death.kill.provider == "g":
        yield "the server would have answered again"
    token = found.tokens[intents[-1].fingerprint]
    rotated = any(
        one.sha256 == token and one.outcome == "rotated" for one in found.redemptions
    )
    if len(why.attempts) < TRIES_WITHOUT_GRACE:
        yield "the provider's rule allowed another try"
    twice = len(found.death.ended) > 1
    if not rotated and not twice:
        yield "the server has not seen the token"
    if any("returned" in trace.of_step("spool") for trace in found.death.traces):
        yield "the answer was in the spool"
    asked = {*why.attempts, intents[-1].attempt_id}
    if any(event.attempt_id in asked for event in found.of(Rotated)):
        yield "the answer was in the ledger"


def ends_what_was_revoked(found: Left) -> Wrong:
    """No token leaves after the end, and what is owed is not forgotten."""
    ends = [n for n, event in found.events if isinstance(event, Revoked)]
    state = found.state
    if state is None:
        return
    if (state.status is GrantStatus.REVOKED) is not bool(ends):
        yield f"{len(ends)} revocations, and the grant is {state.status}"
    if not ends:
        return
    if found.answered.refused != "revoked":
        yield f"revoked, and the answer is {found.answered.refused or 'a token'}"
    for index, _, entry in found.entries:
        if index > ends[0] and entry.outcome is Outcome.HANDED_OUT:
            yield "handed out after the revocation"
    yield from pays_what_is_owed(found, state)


def pays_what_is_owed(found: Left, state: GrantState) -> Wrong:
    """The server has confirmed, where it has an endpoint to ask."""
    endpoint = found.death.kill.provider != "a"
    if not state.obligations:
        yield "nothing is owed to the server"
    owed_for = {owed.fingerprint for owed in state.obligations}
    for kind, held in held_at_the_end(found):
        if held not in owed_for:
            yield f"the {kind} held at the end was never owed"
    for owed in state.obligations:
        if owed.open:
            yield f"the {owed.kind} is still owed"
        elif owed.confirmed is not endpoint:
            yield f"the {owed.kind} is confirmed: {owed.confirmed}"
    if endpoint and any(f.ended != "revoked" for f in found.families.values()):
        yield "the server has not ended the grant"


def held_at_the_end(found: Left) -> Iterator[tuple[TokenKind, TokenFingerprint]]:
    """Return the newest token of each kind that was stored before the revocation."""
    held: dict[TokenKind, TokenFingerprint] = {}
    for _, event in found.events:
        if isinstance(event, Revoked):
            break
        if isinstance(event, Provisioned | Rotated):
            held[TokenKind.REFRESH] = event.fingerprint
        elif isinstance(event, Exchanged):
            held[TokenKind.ACCESS] = event.fingerprint
    yield from held.items()


def exchanges_what_was_intended(found: Left) -> Wrong:
    """The server never exchanged what the journal does not know of."""
    intended = [
        entry
        for _, _, entry in found.entries
        if entry.outcome is Outcome.EXCHANGE_INTENDED
    ]
    if found.children > len(intended):
        yield f"{found.children} exchanges, {len(intended)} intended"


def outcome(found: Left) -> str:
    """Return in a word what became of the operation."""
    return afterwards(found) or at_once(found)


def afterwards(found: Left) -> str:
    """Return what the fresh process had to do, empty for nothing."""
    death = found.death
    others = [
        e
        for _, e in found.events
        if not any(e.node.endswith(f"-{one.pid}") for one in death.ended)
    ]
    if found.state and found.state.status is GrantStatus.REAUTHORIZATION_REQUIRED:
        return CONSENT
    if any(isinstance(e, UpstreamRevocationConfirmed) for e in others):
        return SETTLED
    attempts = {e.attempt_id for e in found.of(RedemptionIntended) if e not in others}
    if any(isinstance(e, Rotated) and e.attempt_id in attempts for e in others):
        return SPOOLED
    if any(isinstance(e, RedemptionIntended) and e.retry_of for e in others):
        return RETRIED
    return ""


def at_once(found: Left) -> str:
    """Return what was left of an operation that the fresh process did not touch."""
    mine, recorded = found.by(-1), found.recorded_by(-1)
    finished = {entry.request_id for entry in recorded if entry.outcome not in OPEN}
    if any(e.outcome in OPEN and e.request_id not in finished for e in recorded):
        return UNFINISHED
    if found.death.kill.case.operation == "consent" and not mine:
        spent = any(
            f.refresh_sha256 not in found.tokens.values()
            for f in found.families.values()
        )
        return CONSENT if spent else UNTOUCHED
    return COMPLETE if mine or recorded else UNTOUCHED
