"""What must hold between the log's order and what callers on all replicas were told.

The log is read as it stands, leaf by leaf; nothing here asks a broker or a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from grantledger.adapters.devserver.tokens import sha256
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import Exchanged, Provisioned, Revoked
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.values import Outcome

HANDED_OUT = "handed out"


@dataclass(frozen=True)
class Entry:
    """An event of the grant, or one hand-out, as the log has it.

    Attributes:
        kind: the event's class, or HANDED_OUT.
        version: the event's own, or the one that the hand-out was decided on.
        generation: where the log says it.
        token: SHA-256 of what was exchanged.
        token_ref: version of the event that the hand-out names.
        request: of the hand-out.
    """

    kind: str
    version: int
    generation: int = 0
    token: str = ""
    token_ref: int = 0
    request: str = ""


@dataclass(frozen=True)
class Answer:
    """What a caller was given; times are the machine's monotonic seconds."""

    request: str
    token: str
    began: float


@dataclass
class Told:
    """What one replica has said, in its own order.

    Attributes:
        endings: generation and time of each revocation that it has acknowledged.
    """

    answers: list[Answer] = field(default_factory=list[Answer])
    endings: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])


def entries_of(
    history: Iterable[tuple[int, GrantEvent | AccessRecorded]],
) -> list[Entry]:
    """Return a grant's history in the order of its leaves, and within each leaf."""
    found: list[Entry] = []
    before = -1
    for index, event in history:
        assert index > before
        before = index
        if isinstance(event, AccessRecorded):
            found += [
                Entry(
                    HANDED_OUT,
                    one.grant_version,
                    one.generation,
                    token_ref=one.token_ref or 0,
                    request=one.request_id,
                )
                for one in event.entries
                if one.outcome is Outcome.HANDED_OUT
            ]
            continue
        generation, token = 0, ""
        if isinstance(event, Provisioned | Exchanged):
            generation = event.generation
        if isinstance(event, Exchanged) and event.access_token is not None:
            token = sha256(event.access_token.reveal())
        kind = type(event).__name__
        found.append(Entry(kind, event.originator_version, generation, token))
    return found


def faults(log: Sequence[Entry], told: Sequence[Told]) -> list[str]:
    """Return everything that is not as it must be."""
    found, placed = _faults_of_log(log)
    tokens = {one.version: one.token for one in log if one.kind == Exchanged.__name__}
    endings = [ending for one in told for ending in one.endings]
    for one in told:
        last = -1
        for answer in one.answers:
            place = placed.get(answer.request)
            if place is None:
                found.append(f"{answer.request}: not in the journal")
                continue
            entry = log[place]
            if tokens.get(entry.token_ref) != answer.token:
                found.append(f"{answer.request}: another token than recorded")
            if place < last:
                found.append(f"{answer.request}: recorded before an earlier answer")
            last = place
            if any(
                entry.generation <= generation and at < answer.began
                for generation, at in endings
            ):
                found.append(f"{answer.request}: asked for after the revocation")
    return found


def _faults_of_log(log: Sequence[Entry]) -> tuple[list[str], dict[str, int]]:
    """Return what the log alone shows, and where each hand-out stands."""
    found: list[str] = []
    placed: dict[str, int] = {}
    grant = _Grant()
    for place, entry in enumerate(log):
        if entry.kind != HANDED_OUT:
            found += grant.changed(entry)
            continue
        if entry.request in placed:
            found.append(f"{entry.request}: recorded twice")
        placed[entry.request] = place
        found += grant.handed_out(entry)
    return found, placed


class _Grant:
    """How the grant stands at one place of the log."""

    def __init__(self) -> None:
        self._newest = 0
        self._generation = 0
        self._revoked = False
        self._exchanged: dict[int, Entry] = {}

    def changed(self, entry: Entry) -> Iterator[str]:
        """Take an event; yield what is wrong with it."""
        if entry.version != self._newest + 1:
            yield f"version {entry.version} after {self._newest}"
        self._newest = entry.version
        if entry.kind == Provisioned.__name__:
            self._generation, self._revoked = entry.generation, False
        elif entry.kind == Revoked.__name__:
            self._revoked = True
        elif entry.kind == Exchanged.__name__:
            self._exchanged[entry.version] = entry

    def handed_out(self, entry: Entry) -> Iterator[str]:
        """Yield what is wrong with a hand-out that stands here."""
        if self._revoked:
            yield f"{entry.request}: behind the revocation"
        if entry.version != self._newest:
            yield f"{entry.request}: decided on {entry.version}, not {self._newest}"
        source = self._exchanged.get(entry.token_ref)
        if source is None:
            yield f"{entry.request}: before its token was obtained"
        elif not entry.generation == source.generation == self._generation:
            yield f"{entry.request}: of another generation"
