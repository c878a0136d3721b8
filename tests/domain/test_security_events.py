"""What follows from what a transmitter says."""

from __future__ import annotations

import pytest

from grantledger.domain.security_events import (
    EventSubject,
    Happening,
    Reaction,
    reaction_to,
)

SESSION, CREDENTIAL = Happening.SESSION_REVOKED, Happening.CREDENTIAL_COMPROMISE
REACTIONS = {SESSION: Reaction.QUARANTINE, CREDENTIAL: Reaction.REVOKE}


@pytest.mark.parametrize(
    ("happenings", "reaction"),
    [
        ([], None),
        ([SESSION], Reaction.QUARANTINE),
        ([CREDENTIAL], Reaction.REVOKE),
        ([SESSION, CREDENTIAL], Reaction.REVOKE),
    ],
)
def test_the_final_reaction_counts(
    happenings: list[Happening], reaction: Reaction | None
) -> None:
    assert reaction_to(happenings, REACTIONS) is reaction


def test_a_subject_shows_whose_user_it_is_and_not_which() -> None:
    shown = repr(EventSubject("alice", "https://idp.example"))
    assert "alice" not in shown
    assert "idp.example" in shown
