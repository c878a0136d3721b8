"""The checker of `order` finds each fault that is planted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.replicas.order import HANDED_OUT, Answer, Entry, Told, faults

LOG = [
    Entry("Provisioned", 1, 1),
    Entry("RedemptionIntended", 2),
    Entry("Rotated", 3),
    Entry("Exchanged", 4, 1, "one"),
    Entry(HANDED_OUT, 4, 1, token_ref=4, request="a"),
    Entry(HANDED_OUT, 4, 1, token_ref=4, request="b"),
    Entry("Revoked", 5),
    Entry("Provisioned", 6, 2),
    Entry("Exchanged", 7, 2, "two"),
    Entry(HANDED_OUT, 7, 2, token_ref=7, request="c"),
    Entry("RedemptionIntended", 8),
    Entry(HANDED_OUT, 8, 2, token_ref=7, request="d"),
]
A, B, C, D = Answer("a", "one", 1), Answer("b", "one", 2), Answer("c", "two", 5), None


def told() -> list[Told]:
    return [Told([A, C]), Told([B], [(1, 4.0)])]


def moved(fro: int, to: int) -> list[Entry]:
    """The log with one entry in another place."""
    log = list(LOG)
    log.insert(to, log.pop(fro))
    return log


def changed(at: int, **said: object) -> list[Entry]:
    log = list(LOG)
    log[at] = replace(log[at], **said)  # type: ignore[arg-type] # fields of an entry
    return log


def test_what_is_right_has_no_fault() -> None:
    """A hand-out that no caller has got is none: the journal is an upper bound."""
    assert faults(LOG, told()) == []


@pytest.mark.parametrize(
    ("log", "fault"),
    [
        (moved(5, 6), "b: behind the revocation"),
        (moved(5, 6), "b: decided on 4, not 5"),
        (moved(5, 7), "b: of another generation"),
        (moved(4, 3), "a: before its token was obtained"),
        (changed(9, version=6), "c: decided on 6, not 7"),
        (changed(9, generation=1), "c: of another generation"),
        (changed(9, token_ref=4), "c: of another generation"),
        (changed(5, request="a"), "a: recorded twice"),
        (changed(8, version=8), "version 8 after 6"),
    ],
)
def test_a_fault_of_the_log_is_found(log: list[Entry], fault: str) -> None:
    assert fault in faults(log, [])


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (Told([A, replace(C, request="x")]), "x: not in the journal"),
        (Told([replace(A, token="two")]), "a: another token than recorded"),
        (Told([C, A]), "a: recorded before an earlier answer"),
        (Told([replace(A, began=4.5)]), "a: asked for after the revocation"),
    ],
)
def test_a_fault_of_a_replica_is_found(said: Told, fault: str) -> None:
    assert faults(LOG, [said, Told([B], [(1, 4.0)])]) == [fault]
