"""The checks at a soak's end, over a story that holds, and with each fault planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak.growth import Bound, growth
from benchmarks.soak.history import checkpoints_of
from benchmarks.soak.log import EXCHANGED, HANDED_OUT, PROVISIONED, REVOKED, Line
from benchmarks.soak.promises import (
    ACTIVE,
    CONSENT,
    ENDED,
    LOST_ANSWER,
    AtServer,
    Cause,
    GrantLeft,
    after_the_end,
    doubted,
    forked,
    lost,
    out_of_order,
    unrecorded,
)
from benchmarks.soak.seen import Answer, Ending, Fetched
from benchmarks.soak.soaking import wronged
from grantledger.adapters.keys.signing import RingSigner
from grantledger.projections.checkpoints import Checkpoint, signed_note, verifier_key
from grantledger.projections.transparency import CompactRange, leaf_hash

GRANT = "a" * 32
MOMENT = "2026-01-01T00:00:05Z"


def handed_out(
    leaf: int, request: str, version: int, token_ref: int, **said: int
) -> Line:
    generation = said.get("generation", 1)
    return Line(leaf, GRANT, HANDED_OUT, version, generation, token_ref, request, "job")


LOG = [
    Line(0, GRANT, PROVISIONED, 1, generation=1),
    Line(1, GRANT, EXCHANGED, 2, generation=1),
    handed_out(2, "r1", 2, 2),
    Line(3, GRANT, EXCHANGED, 3, generation=1),
    handed_out(4, "r2", 3, 3),
    Line(5, GRANT, REVOKED, 4, moment=MOMENT),
    Line(6, GRANT, PROVISIONED, 5, generation=2),
    Line(7, GRANT, EXCHANGED, 6, generation=2),
    handed_out(8, "r3", 6, 6, generation=2),
]
"""A grant that is ended and consented to anew, and three hand-outs."""

TOKENS = {(GRANT, 2): "t1", (GRANT, 3): "t2", (GRANT, 6): "t3"}
ANSWERS = [
    Answer("r1", "t1", GRANT, 1, "job", 1.0, 1.1),
    Answer("r2", "t2", GRANT, 1, "job", 2.0, 2.1),
    Answer("r3", "t3", GRANT, 2, "job", 9.0, 9.1),
]
ENDINGS = [Ending(GRANT, "2026-01-01T00:00:05+00:00", 5.0)]


def test_a_log_that_holds_has_no_faults() -> None:
    assert unrecorded(ANSWERS, LOG, TOKENS) == []
    assert out_of_order(LOG) == []
    assert after_the_end(ANSWERS, ENDINGS, LOG) == []


# -- the second promise


def test_an_answer_without_an_entry_is_a_fault() -> None:
    log = [line for line in LOG if line.request != "r2"]
    assert unrecorded(ANSWERS, log, TOKENS) == ["r2: a token left without an entry"]


def test_a_request_that_is_recorded_twice_is_a_fault() -> None:
    assert unrecorded(ANSWERS, [*LOG, LOG[-1]], TOKENS) == ["r3: recorded twice"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (replace(ANSWERS[0], token="t2"), "another token left than was recorded"),
        (replace(ANSWERS[0], caller="x"), "recorded for another grant or caller"),
        (replace(ANSWERS[0], generation=2), "recorded for another grant or caller"),
        (replace(ANSWERS[0], grant="b" * 32), "recorded for another grant or caller"),
    ],
)
def test_an_answer_unlike_its_entry_is_a_fault(answer: Answer, words: str) -> None:
    assert unrecorded([answer, *ANSWERS[1:]], LOG, TOKENS) == [f"r1: {words}"]


@pytest.mark.parametrize(
    ("place", "line", "words"),
    [
        (6, handed_out(5, "late", 4, 3), "late was handed out behind the revocation"),
        (5, handed_out(4, "old", 2, 2), "old was decided on version 2, not 3"),
        (
            2,
            handed_out(1, "early", 2, 3),
            "early was handed out before it was obtained",
        ),
        (9, handed_out(9, "back", 6, 3), "back is of another generation"),
        (9, Line(9, GRANT, EXCHANGED, 8, generation=2), "version 8 follows 6"),
    ],
)
def test_what_stands_at_the_wrong_place_of_the_log_is_a_fault(
    place: int, line: Line, words: str
) -> None:
    found = out_of_order([*LOG[:place], line, *LOG[place:]])
    assert found[0] == f"leaf {line.leaf}, grant {GRANT}: {words}"


def test_a_token_of_what_was_told_to_be_over_is_a_fault() -> None:
    """It stands before the revocation in the log, and was asked for after it."""
    late = [*ANSWERS[:1], replace(ANSWERS[1], began=5.5), *ANSWERS[2:]]
    found = after_the_end(late, ENDINGS, LOG)
    assert found == ["r2: asked for after the revocation"]


def test_a_revocation_that_was_told_and_is_not_in_the_log_is_a_fault() -> None:
    log = [line for line in LOG if line.kind != REVOKED]
    found = after_the_end(ANSWERS, ENDINGS, log)
    assert found == [f"{GRANT}: a revocation was told that is not in the log"]


# -- the first promise

SERVER = AtServer(current={"alice": {"now"}}, successors={"sent": "gone", "old": "now"})
USABLE = GrantLeft("alice", GRANT, ACTIVE, "", refresh="now", known=frozenset({"now"}))
EXPLAINED = Cause(LOST_ANSWER, ("sent",), ("soak-1.0",))
QUARANTINED = GrantLeft("alice", GRANT, CONSENT, CONSENT, causes=(EXPLAINED,))


def test_grants_that_are_usable_or_say_why_not_hold() -> None:
    ended = GrantLeft("bob", GRANT, ENDED, ENDED)
    mended = replace(USABLE, causes=(EXPLAINED,))
    assert lost([USABLE, ended, QUARANTINED, mended], SERVER) == []


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (replace(USABLE, grant=""), "is not in the ledger"),
        (replace(USABLE, refresh="old"), "holds another refresh token than its server"),
        (
            replace(USABLE, answer="unavailable"),
            "is active, and the last answer was unavailable",
        ),
        (replace(USABLE, status="refreshing"), "is still refreshing"),
        (replace(USABLE, owed=2), "owes its server 2 revocations"),
        (
            GrantLeft("alice", GRANT, ENDED, ""),
            "is revoked, and the last answer was a token",
        ),
        (
            replace(QUARANTINED, causes=()),
            "asks for consent and does not say why",
        ),
        (
            replace(QUARANTINED, causes=(replace(EXPLAINED, presented=()),)),
            "consent was asked for without a redemption that explains it",
        ),
        (
            replace(QUARANTINED, causes=(replace(EXPLAINED, presented=("unsent",)),)),
            "consent was asked for, and the server has given nothing that was lost",
        ),
        (
            replace(QUARANTINED, known=frozenset({"gone"})),
            "consent was asked for, and the server has given nothing that was lost",
        ),
        (
            replace(QUARANTINED, causes=(Cause("refused"),)),
            "consent was asked for because of refused",
        ),
    ],
)
def test_a_grant_that_is_lost_silently_is_a_fault(left: GrantLeft, words: str) -> None:
    assert lost([left], SERVER) == [f"alice: {words}"]


# -- the third promise


def roots(count: int) -> list[bytes]:
    tree = CompactRange()
    found = [tree.root()]
    for number in range(count):
        tree.append(leaf_hash(b"%d" % number))
        found.append(tree.root())
    return found


def test_beginnings_of_the_log_are_no_forks() -> None:
    all_of_it = roots(9)
    assert forked([(size, all_of_it[size]) for size in (0, 3, 9)], all_of_it) == []


@pytest.mark.parametrize(
    ("checkpoint", "words"),
    [
        (lambda: (3, roots(9)[4]), "the checkpoint of 3 leaves has another root"),
        (lambda: (10, roots(10)[10]), "a checkpoint of 10 leaves; the log has 9"),
    ],
)
def test_a_forked_checkpoint_is_a_fault(
    checkpoint: Callable[[], tuple[int, bytes]], words: str
) -> None:
    assert forked([(2, roots(9)[2]), checkpoint()], roots(9)) == [words]


def test_a_checkpoint_that_the_log_did_not_sign_is_a_fault(tmp_path: Path) -> None:
    def fetched(at: float, signer: RingSigner) -> Fetched:
        note = signed_note(Checkpoint("log.example", 3, roots(3)[3]), signer)
        return Fetched(at, 0, note.encode())

    ours, another = RingSigner(bytes(32)), RingSigner(bytes([1] * 32))
    keys = tmp_path / "keys.txt"
    keys.write_text(verifier_key("log.example", ours.public_key))
    good, faults = checkpoints_of([fetched(1.0, ours), fetched(2.0, another)], keys)
    assert good == [(3, roots(3)[3])]
    assert [fault.startswith("checkpoint 1, of replica 0") for fault in faults] == [
        True
    ]


def test_a_log_that_doubts_itself_though_nobody_touched_it_is_a_fault() -> None:
    """What is late is none."""
    found = doubted([(4, "late"), (7, "integrity")])
    assert found == ["leaf 7 says that the log does not prove itself"]


def test_what_a_replica_logs_as_an_error_is_a_fault() -> None:
    said = [
        "1: 2026-01-01T00:00:00.000Z WARNING grantledger.log: all in time again",
        "1: 2026-01-01T00:00:00.000Z ERROR grantledger.log: checkpoints are late: late",
        "2: 2026-01-01T00:00:00.000Z ERROR grantledger.processes: process 0 ended",
    ]
    assert wronged(said) == said[2:]


# -- what grows

BOUND = Bound(share=0.05, more=2.0)


def test_caches_that_fill_in_the_first_third_are_no_growth() -> None:
    values = [*range(100), *[100] * 200]
    assert growth("memory", values, BOUND).fault is None


def test_memory_that_goes_on_growing_is_a_fault() -> None:
    found = growth("memory", [100 + n / 3 for n in range(90)], BOUND)
    assert found.fault == "memory grew from 115 to 125; 123 at most"


def test_descriptors_that_are_never_closed_are_a_fault() -> None:
    found = growth("descriptors", [20 + n // 5 for n in range(90)], Bound(0.0, 4))
    assert found.fault is not None


def test_too_few_samples_tell_nothing() -> None:
    with pytest.raises(ValueError, match="8 samples of memory; 9 are needed"):
        growth("memory", [1.0] * 8, BOUND)
