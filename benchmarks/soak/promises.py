"""What must hold at the end, each over what was recorded; every fault in words.

Nothing here asks a broker, a file or a server: that is read before (`log`, `left`), so
that each check can be shown to fail.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from benchmarks.soak.log import EXCHANGED, HANDED_OUT, PROVISIONED, REVOKED, Line
from benchmarks.soak.seen import Answer, Ending

ACTIVE, ENDED, CONSENT = "active", "revoked", "reauthorization_required"
LOST_ANSWER = "ambiguous_outcome"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why consent was asked for once, as the ledger has it.

    Attributes:
        presented: SHA-256 of the refresh tokens that its attempts sent.
        nodes: that sent them.
    """

    reason: str
    presented: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GrantLeft:
    """A grant at the end.

    Attributes:
        grant: its id; empty where the ledger has none for the subject.
        refresh: SHA-256 of its refresh token, empty without.
        answer: to whoever asked for a token last: the refusal, empty for a token.
        causes: of every time that consent was asked for, oldest first.
        owed: revocations that its server has not confirmed.
        known: SHA-256 of every refresh token that it has held.
    """

    subject: str
    grant: str
    status: str
    answer: str
    refresh: str = ""
    causes: tuple[Cause, ...] = ()
    owed: int = 0
    known: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AtServer:
    """What the authorization server itself knows; tokens by SHA-256.

    Attributes:
        current: refresh tokens that it would redeem now, by subject.
        successors: of each refresh token that it has redeemed.
    """

    current: Mapping[str, Collection[str]]
    successors: Mapping[str, str]


# -- the first: no grant is lost silently


def lost(left: Sequence[GrantLeft], server: AtServer) -> list[str]:
    """Return grants that are neither usable nor say rightly why not."""
    return [f"{one.subject}: {fault}" for one in left for fault in _lost(one, server)]


def _lost(one: GrantLeft, server: AtServer) -> Iterator[str]:
    if not one.grant:
        yield "is not in the ledger"
        return
    if one.status == ACTIVE:
        if one.answer:
            yield f"is active, and the last answer was {one.answer}"
        if one.refresh not in server.current.get(one.subject, ()):
            yield "holds another refresh token than its server"
    elif one.status not in (ENDED, CONSENT):
        yield f"is still {one.status}"
    elif one.answer != one.status:
        yield f"is {one.status}, and the last answer was {one.answer or 'a token'}"
    if one.status == CONSENT and not one.causes:
        yield "asks for consent and does not say why"
    if one.owed:
        yield f"owes its server {one.owed} revocations"
    for cause in one.causes:
        yield from _unfounded(cause, one.known, server)


def _unfounded(cause: Cause, known: Collection[str], server: AtServer) -> Iterator[str]:
    """Yield what the server's record does not bear out.

    Here a refresh token is refused for one reason alone: it was redeemed, and the
    answer died with the process that was to store it.
    """
    if cause.reason != LOST_ANSWER:
        yield f"consent was asked for because of {cause.reason}"
    elif not cause.presented:
        yield "consent was asked for without a redemption that explains it"
    elif not any(
        sent in server.successors and server.successors[sent] not in known
        for sent in cause.presented
    ):
        yield "consent was asked for, and the server has given nothing that was lost"


# -- the second: no token is left unrecorded


def unrecorded(
    answers: Sequence[Answer],
    lines: Sequence[Line],
    tokens: Mapping[tuple[str, int], str],
) -> list[str]:
    """Return answers that the journal does not have as they were given.

    Args:
        answers: of all callers.
        lines: of the log.
        tokens: SHA-256 of each access token that was obtained, by grant and version.
    """
    found: list[str] = []
    journal: dict[str, Line] = {}
    for line in lines:
        if line.kind != HANDED_OUT:
            continue
        if line.request in journal:
            found.append(f"{line.request}: recorded twice")
        journal[line.request] = line
    for one in answers:
        entry = journal.get(one.request)
        if entry is None:
            found.append(f"{one.request}: a token left without an entry")
            continue
        if tokens.get((entry.grant, entry.token_ref)) != one.token:
            found.append(f"{one.request}: another token left than was recorded")
        said = (one.grant, one.caller, one.generation)
        if said != (entry.grant, entry.caller, entry.generation):
            found.append(f"{one.request}: recorded for another grant or caller")
    return found


def out_of_order(lines: Sequence[Line]) -> list[str]:
    """Return what the order of the log forbids, such as a token after the end."""
    grants: dict[str, _Grant] = {}
    return [
        f"leaf {line.leaf}, grant {line.grant}: {fault}"
        for line in lines
        for fault in grants.setdefault(line.grant, _Grant()).wrong(line)
    ]


@dataclass
class _Grant:
    """How a grant stands at one place of the log."""

    newest: int = 0
    generation: int = 0
    ended: bool = False
    obtained: dict[int, int] = field(default_factory=dict[int, int])

    def wrong(self, line: Line) -> Iterator[str]:
        """Take a line; yield what is wrong with it there."""
        if line.kind == HANDED_OUT:
            if self.ended:
                yield f"{line.request} was handed out behind the revocation"
            if line.version != self.newest:
                yield (
                    f"{line.request} was decided on version {line.version}, "
                    f"not {self.newest}"
                )
            if line.token_ref not in self.obtained:
                yield f"{line.request} was handed out before it was obtained"
            elif not (
                line.generation == self.obtained[line.token_ref] == self.generation
            ):
                yield f"{line.request} is of another generation"
            return
        if line.version != self.newest + 1:
            yield f"version {line.version} follows {self.newest}"
        self.newest = line.version
        if line.kind == PROVISIONED:
            self.generation, self.ended = line.generation, False
        elif line.kind == REVOKED:
            self.ended = True
        elif line.kind == EXCHANGED:
            self.obtained[line.version] = line.generation


def after_the_end(
    answers: Sequence[Answer], endings: Sequence[Ending], lines: Sequence[Line]
) -> list[str]:
    """Return answers to requests that were sent after the grant's end was told.

    And ends that were told and are not in the log.
    """
    generation: dict[str, int] = {}
    ended: dict[tuple[str, datetime], int] = {}
    for line in lines:
        if line.kind == PROVISIONED:
            generation[line.grant] = line.generation
        elif line.kind == REVOKED:
            moment = datetime.fromisoformat(line.moment)
            ended[line.grant, moment] = generation.get(line.grant, 0)
    found: list[str] = []
    told: dict[str, list[tuple[float, int]]] = {}
    for one in endings:
        which = ended.get((one.grant, datetime.fromisoformat(one.moment)))
        if which is None:
            found.append(f"{one.grant}: a revocation was told that is not in the log")
        else:
            told.setdefault(one.grant, []).append((one.at, which))
    found += [
        f"{one.request}: asked for after the revocation"
        for one in answers
        for at, which in told.get(one.grant, ())
        if at < one.began and one.generation <= which
    ]
    return found


# -- the third: history is whole


def forked(
    checkpoints: Sequence[tuple[int, bytes]], roots: Sequence[bytes]
) -> list[str]:
    """Return checkpoints that the log as it ended does not begin with.

    Args:
        checkpoints: size and root of each, in the order in which they were fetched.
        roots: of the log's first leaves, by how many.
    """
    found: list[str] = []
    for size, root in checkpoints:
        if size >= len(roots):
            found.append(f"a checkpoint of {size} leaves; the log has {len(roots) - 1}")
        elif roots[size] != root:
            found.append(f"the checkpoint of {size} leaves has another root")
    return found


def doubted(outages: Sequence[tuple[int, str]]) -> list[str]:
    """Return where the log says of itself that it is not whole.

    Nobody has touched it: that would be a false alarm. A checkpoint that is late is
    none; a busy machine makes it so.
    """
    return [
        f"leaf {leaf} says that the log does not prove itself"
        for leaf, cause in outages
        if cause == "integrity"
    ]
