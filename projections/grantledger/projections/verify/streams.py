"""The streams of a log: versions without a gap, and what each grant has come to.

A grant's status follows from the topics of its stream, its attempts and its
generations; all of them stand in the leaves in the clear. `Streams` folds that over
one part of a log; parts that were folded by themselves are joined.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from grantledger.projections.verify.findings import Findings, Refuted, shown
from grantledger.projections.verify.leaves import (
    CONTINUED,
    GRANT_TOPICS,
    JOURNAL,
    LEDGER_STREAM,
    PRUNED,
    integer,
    read_leaf,
    text,
)

ACTIVE = "active"
REFRESHING = "refreshing"
QUARANTINED = "reauthorization_required"
REVOKED = "revoked"
ERASED = "erased"

PROVISIONED_TOPIC = f"{GRANT_TOPICS}provisioned.v1"
ERASED_TOPIC = f"{GRANT_TOPICS}erased.v1"
_STEPS = {
    f"{GRANT_TOPICS}{name}.v1": name
    for name in (
        "redemption-intended",
        "rotated",
        "exchanged",
        "redemption-failed",
        "late-answer-kept",
        "reauthorization-required",
        "revoked",
    )
}
_KNOWN_WITHOUT_EFFECT = frozenset(
    f"{GRANT_TOPICS}{name}.v1"
    for name in (
        "access-token-ended",
        "upstream-revocation-confirmed",
        "upstream-revocation-failed",
        "upstream-revocation-abandoned",
    )
)
_ATTEMPT = b'"attempt_id":"'
_ATTEMPT_BEGINS = b'"attempt_'
"""Is found sooner: its last byte, looked for first, is rarer in a leaf than a quote."""
_STORED = b'"reason":"stored"'
_UUID_LENGTH = 36
_FIELDS_AT = 100
"""No leaf's fields begin before."""


_RESETS = {
    "provisioned": ACTIVE,
    "redemption-intended": REFRESHING,
    "revoked": REVOKED,
    "erased": ERASED,
}
"""What these say of a grant, whatever came before."""

Step = tuple[str, bytes | None]
"""An event's name, and the attempt that it belongs to."""


class Stream:
    """One stream so far.

    Attributes:
        first: version of its first leaf in this part; `last` of the last.
        leaf: index of the last; `began` of the first.
        head: the bytes by which a leaf of it names it.
        gone: index of its first leaf without bytes.
        steps: since the last event that does not depend on those before it.
        unknown: an event of a topic that is not known here may have changed anything.
    """

    __slots__ = (
        "began",
        "first",
        "generation",
        "gone",
        "grant",
        "head",
        "last",
        "leaf",
        "provider",
        "steps",
        "unknown",
    )

    def __init__(self, stream: str, version: int, index: int, *, grant: bool) -> None:
        dashed = str(UUID(hex=stream))
        self.head = f'","stream":"{dashed}","stream_seq":'.encode()
        self.first = self.last = version
        self.began = self.leaf = index
        self.grant = grant
        self.gone: int | None = None
        self.steps: list[Step] = []
        self.generation: int | None = None
        self.provider: str | None = None
        self.unknown = False

    def step(self, name: str, attempt: bytes | None = None) -> None:
        """Take note of an event."""
        if name in _RESETS:
            self.steps = [(name, attempt)]
        else:
            self.steps.append((name, attempt))

    def empty(self, index: int) -> None:
        """Take note of a leaf without bytes."""
        self.gone = index if self.gone is None else self.gone

    @property
    def status(self) -> str | None:
        """What the grant has come to; None where its beginning is missing."""
        status: str | None = None
        current: bytes | None = None
        for name, attempt in self.steps:
            if name in _RESETS:
                status = _RESETS[name]
                current = attempt if name == "redemption-intended" else None
                continue
            answered = attempt is not None and attempt == current
            if name == "stored" or (answered and name != "reauthorization-required"):
                current = None
            if status in (REVOKED, ERASED, None) or name == "late-answer-kept":
                continue
            if name == "reauthorization-required":
                status = QUARANTINED
            elif answered or name != "redemption-failed":
                status = ACTIVE if current is None else REFRESHING
        return status

    def join(self, after: Stream) -> None:
        """Go on with what the next part of the log holds of this stream."""
        for name, attempt in after.steps:
            self.step(name, attempt)
        self.last, self.leaf = after.last, after.leaf
        self.grant = self.grant or after.grant
        self.gone = after.gone if self.gone is None else self.gone
        self.unknown = self.unknown or after.unknown
        if after.generation is not None:
            self.generation = after.generation
        if after.provider is not None:
            self.provider = after.provider


@dataclass(frozen=True, slots=True)
class Pruning:
    """A `Pruned` event: where it stands, and what it covers."""

    leaf: int
    below: int
    leaves: int


@dataclass(frozen=True, slots=True)
class Continuation:
    """A `LogContinued` event: origins before and after, and the size found."""

    leaf: int
    origin: str
    previous: str
    found_size: int


@dataclass(slots=True)
class Streams:
    """All streams of a part of the log.

    Attributes:
        unknown: topics that are not known here, with how often they came.
        gaps: leaves without bytes are of journal streams, nobody knows of which.
    """

    by_id: dict[str, Stream] = field(default_factory=dict[str, Stream])
    prunings: list[Pruning] = field(default_factory=list[Pruning])
    continuations: list[Continuation] = field(default_factory=list[Continuation])
    unknown: dict[str, int] = field(default_factory=dict[str, int])
    gaps: bool = False

    def place(
        self, index: int, stream: str, version: object, topic: str, findings: Findings
    ) -> Stream | None:
        """Take note of a leaf's place in its stream; None where it names none."""
        if not isinstance(version, int):  # SQLite keeps what anybody writes
            findings.add(f"leaf {index}", f"its version is {shown(version)}")
            return None
        found = self.by_id.get(stream)
        if found is None:
            try:
                found = Stream(
                    stream, version, index, grant=topic.startswith(GRANT_TOPICS)
                )
            except (ValueError, TypeError, AttributeError):
                findings.add(f"leaf {index}", "names no stream")
                return None
            self.by_id[stream] = found
            return found
        if version != found.last + 1 and not (
            self.gaps and topic == JOURNAL and version > found.last
        ):
            findings.add(
                f"leaf {index}",
                f"is version {version} of stream {stream}; {found.last} came before",
            )
        found.last, found.leaf = version, index
        return found

    def take(
        self, index: int, stream: Stream, topic: str, state: bytes, findings: Findings
    ) -> None:
        """Fold the event of a leaf that agrees with its columns."""
        if topic == JOURNAL:
            return
        name = _STEPS.get(topic)
        if name is not None:
            at = state.find(_ATTEMPT_BEGINS, _FIELDS_AT)
            if at > 0 and not state.startswith(_ATTEMPT, at):
                at = state.find(_ATTEMPT, at)
            attempt = None
            if at > 0:
                at += len(_ATTEMPT)
                attempt = state[at : at + _UUID_LENGTH]
            if name == "rotated" and _STORED in state:
                name = "stored"
            if name in _RESETS:
                stream.steps = [(name, attempt)]
            else:
                stream.steps.append((name, attempt))
        elif topic not in _KNOWN_WITHOUT_EFFECT:
            try:
                self._rare(index, stream, topic, state)
            except Refuted as refuted:
                findings.add(refuted.finding.where, refuted.finding.message)

    def _rare(self, index: int, stream: Stream, topic: str, state: bytes) -> None:
        where = f"leaf {index}"
        leaf = read_leaf(state, where)
        said = leaf.fields
        try:
            if topic == PROVISIONED_TOPIC:
                stream.step("provisioned")
                stream.generation = integer(said["generation"])
                stream.provider = text(said["provider"])
            elif topic == ERASED_TOPIC:
                stream.step("erased")
            elif topic == PRUNED:
                below, leaves = integer(said["below"]), integer(said["leaves"])
                if leaf.stream != LEDGER_STREAM:
                    raise Refuted(where, "is of the ledger, and in another's stream")
                self.prunings.append(Pruning(index, below, leaves))
            elif topic == CONTINUED:
                self.continuations.append(
                    Continuation(
                        index,
                        text(said["origin"]),
                        text(said["previous_origin"]),
                        integer(said["found_size"]),
                    )
                )
            elif not topic.startswith("grantledger.ledger."):
                stream.unknown = True
                self.unknown[topic] = self.unknown.get(topic, 0) + 1
        except (KeyError, TypeError):
            raise Refuted(where, f"lacks what a leaf of type {topic} says") from None

    def join(self, after: Streams, findings: Findings) -> None:
        """Go on with the next part of the log."""
        for name, stream in after.by_id.items():
            before = self.by_id.get(name)
            if before is None:
                self.by_id[name] = stream
                continue
            if stream.first != before.last + 1:
                findings.add(
                    f"leaf {stream.began}",
                    f"is version {stream.first} of stream {name}; "
                    f"{before.last} came before",
                )
            before.join(stream)
        self.prunings += after.prunings
        self.continuations += after.continuations
        for topic, count in after.unknown.items():
            self.unknown[topic] = self.unknown.get(topic, 0) + count

    def check_first(self, findings: Findings) -> None:
        """See that every stream begins with version 1."""
        for name, stream in self.by_id.items():
            if stream.first != 1 and (stream.grant or not self.gaps):
                findings.add(
                    f"leaf {stream.began}",
                    f"is the first of stream {name} and has version {stream.first}",
                )

    def erased(self, grant: str) -> bool:
        """Tell whether the log says that the grant is erased."""
        stream = self.by_id.get(grant)
        return stream is not None and stream.status == ERASED

    def grants(self) -> dict[str, Stream]:
        """Return the streams of grants by id."""
        return {name: stream for name, stream in self.by_id.items() if stream.grant}

    @property
    def covered(self) -> int:
        """Below this index `Pruned` events say that a leaf's bytes may be gone."""
        return max((min(p.leaf, p.below) for p in self.prunings), default=0)
