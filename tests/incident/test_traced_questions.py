"""The questions about one token, and what it opens, by `grantledger trace`."""

from __future__ import annotations

from typing import Any

from tests.cli.terminal import Terminal
from tests.incident.cast import (
    ADDRESS,
    SCOPES,
    THEFT,
    THIEF_ADDRESS,
    THIEF_AGENT,
    Told,
    at,
)


def traced(desk: Terminal, token: str) -> Any:  # noqa: ANN401 - whatever JSON says
    """Return what is told of a token, given on standard input."""
    (grant,) = desk.json("trace", given=token)["grants"]
    return grant


def marks(tokens: Any) -> list[str]:  # noqa: ANN401 - likewise
    return [token["fingerprint"] for token in tokens]


def test_question_1_a_raw_token_leads_to_its_grant_and_its_holders(
    desk: Terminal, told: Told
) -> None:
    found = traced(desk, told.stolen_access)
    assert found["grant_id"] == str(told.grants["alice"])
    assert [token["generation"] for token in found["traced"]] == [1]
    who = [(h["address"], h["user_agent"], h["times"]) for h in found["holders"]]
    assert who == [
        (ADDRESS, "calendar-sync/2.3", 1),
        (THIEF_ADDRESS, THIEF_AGENT, 2),
    ]
    assert found["holders"][1]["first_at"][:19] == f"{THEFT:%Y-%m-%dT%H:%M:%S}"


def test_question_4_what_came_of_the_consent_is_what_was_stolen(
    desk: Terminal, told: Told
) -> None:
    found = traced(desk, told.first_refresh)
    below = set(marks(found["descendants"]))
    for stolen in (told.stolen_access, told.stolen_refresh):
        assert marks(traced(desk, stolen)["traced"])[0] in below
    kinds = [token["kind"] for token in found["descendants"]]
    # The last refresh token was redeemed by the thief: its own came to nobody here.
    assert kinds.count("refresh_token") == kinds.count("access_token")


def test_question_5_ancestors_lead_back_to_the_consent(
    desk: Terminal, told: Told
) -> None:
    found = traced(desk, told.stolen_access)["ancestors"]
    consent = min(found, key=lambda token: token["leaf"])
    assert consent["how"] == "consent"
    assert marks([consent]) == marks(traced(desk, told.first_refresh)["traced"])
    assert {token["kind"] for token in found} == {"refresh_token"}


def test_question_6_what_a_token_opens(desk: Terminal, told: Told) -> None:
    stolen = traced(desk, told.stolen_access)["reach"]
    assert stolen["scopes"] == ["calendar.read", "openid"]
    assert stolen["obtainable"] == []
    exchanged = traced(desk, told.exchanged)["reach"]
    assert (exchanged["scopes"], exchanged["audiences"]) == (
        ["calendar.read"],
        ["notes"],
    )
    everything = traced(desk, told.first_refresh)["reach"]
    assert set(everything["scopes"]) <= set(SCOPES)


def test_question_7_each_hop_names_who_acted_for_whom(
    desk: Terminal, told: Told
) -> None:
    (hop,) = traced(desk, told.exchanged)["delegation"]
    assert (hop["caller"], hop["act_chain"], hop["audience"]) == (
        "mcp-gateway",
        ["calendar-tool", "planner"],
        "notes",
    )
    assert hop["first_at"][:19] == f"{at(3, 13, 30):%Y-%m-%dT%H:%M:%S}"


def test_question_12_the_least_to_revoke_and_who_breaks(
    desk: Terminal, told: Told
) -> None:
    """Alice's other grant: the thief was handed a token of it, and nobody ended it."""
    work = str(told.grants["alice/work"])
    (found,) = desk.json("trace", "--grant", work)["grants"]
    ends = found["revocation"]
    assert ends["needed"]
    assert len(ends["tokens"]) == 1
    assert [one["caller"] for one in ends["breaks"]] == ["calendar-sync"]
    preview = ("incident", "revoke", "--dry-run", "--grant", work)
    (line,) = desk.json(*preview)["grants"]
    assert (line["grant_id"], line["outcome"]) == (work, "would_end")
    (ended,) = desk.json("trace", "--grant", str(told.grants["bob"]))["grants"]
    assert not ended["revocation"]["needed"]


def test_question_13_what_is_live_and_until_when(desk: Terminal, told: Told) -> None:
    work = ("trace", "--grant", str(told.grants["alice/work"]))
    (found,) = desk.json(*work)["grants"]
    lives = {token["token"]: token["life"] for token in found["traced"]}
    assert [lives[token] for token in found["live"]] == ["in_use"]
    # Its server names no end of its refresh tokens.
    assert (found["live_until"], found["endless"]) == (None, True)
    assert traced(desk, told.stolen_access)["live"] == []
