"""Each of the twenty-five questions, asked of the golden incident, has its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grantledger.projections.verify.command import main as verify_elsewhere
from tests.cli.terminal import Terminal
from tests.incident.cast import (
    ADDRESS,
    AGENT,
    CLOCK_BACK_SECONDS,
    CONFIRMED,
    END,
    ERASED,
    INSIDER,
    KEY_CHANGED,
    MARA_ADDRESS,
    OUTAGE,
    OUTAGE_OVER,
    REUSED,
    REVOKED,
    SCOPES,
    THEFT,
    THIEF_ADDRESS,
    THIEF_AGENT,
    TICKET,
    Told,
    at,
)

ALICE = ("cloud", "alice")


def rfc(moment: Any) -> str:  # noqa: ANN401 - a time
    """Return a time as the command line takes it, and shows it in JSON."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z"


def asked(desk: Terminal, name: str, *said: str) -> Any:  # noqa: ANN401 - whatever JSON says
    return desk.json("ask", name, *said)


def times(lines: Any, *columns: str) -> list[tuple[Any, ...]]:  # noqa: ANN401 - likewise
    """Return the columns of the lines, times cut to the second."""
    return [tuple(cut(line[column]) for column in columns) for line in lines]


def cut(value: Any) -> Any:  # noqa: ANN401 - likewise
    stamp = isinstance(value, str) and value[4:5] == "-" and "T" in value
    return f"{value[:19]}Z" if stamp else value


def test_question_2_the_state_at_a_time_is_the_state_of_then(desk: Terminal) -> None:
    then = desk.json("status", *ALICE, "--at", rfc(THEFT))
    assert (then["status"], then["generation"]) == ("active", 1)
    after = desk.json("status", *ALICE, "--at", rfc(CONFIRMED))
    assert after["status"] == "revoked"
    now = desk.json("status", *ALICE)
    assert (now["status"], now["generation"]) == ("active", 2)


def test_question_3_hindsight_is_what_was_learned_later(desk: Terminal) -> None:
    found = asked(desk, "hindsight", *ALICE, "--at", rfc(THEFT), "--until", rfc(END))
    assert times(found["lines"], "event", "recorded") == [
        ("ReauthorizationRequired", rfc(REUSED)),
        ("Revoked", rfc(REVOKED)),
    ]


def test_question_8_hand_outs_since_a_time_by_address_and_agent(
    desk: Terminal,
) -> None:
    window = ("--from", rfc(THEFT), "--until", rfc(REVOKED))
    found = asked(desk, "hand-outs", *ALICE, *window)
    columns = ("caller", "address", "agent", "first", "last", "times")
    assert times(found["lines"], *columns) == [
        (
            *("calendar-sync", THIEF_ADDRESS, THIEF_AGENT),
            *(rfc(THEFT), rfc(at(3, 14, 18)), 2),
        )
    ]


def test_question_9_what_differs_is_the_address_and_the_agent(desk: Terminal) -> None:
    said = (*ALICE, "--at", rfc(THEFT), "--from", rfc(at(2, 8)), "--until", rfc(END))
    found = asked(desk, "differs", *said)
    new = [line for line in found["lines"] if line["what"] == "new"]
    assert [(line["trait"], line["value"]) for line in new] == [
        ("address", THIEF_ADDRESS),
        ("agent", THIEF_AGENT),
    ]
    assert {ADDRESS, AGENT}.isdisjoint(line["value"] for line in found["lines"])


def test_question_10_denied_and_failed_attempts_of_the_thief(desk: Terminal) -> None:
    window = ("--from", rfc(THEFT), "--until", rfc(at(3, 15)))
    found = asked(desk, "refusals", "--address", THIEF_ADDRESS, *window)
    # What was asked about erin went with her: the next question sees that it was.
    assert times(found["lines"], "event", "whose", "reason", "first") == [
        ("Denied", "carol", "no_rule", rfc(at(3, 14, 8))),
        ("Denied", "alice", "revoked", rfc(at(3, 14, 44))),
        ("Denied", "bob", "revoked", rfc(at(3, 14, 44))),
    ]
    every = asked(desk, "refusals", *window)["lines"]
    erin = [line for line in every if line["reason"] == "no_rule"]
    assert [line["address"] for line in erin] == [THIEF_ADDRESS, "-"]


def test_question_11_the_refresh_token_was_reused(desk: Terminal, told: Told) -> None:
    found = asked(desk, "reuse", *ALICE, "--until", rfc(END))
    assert found["answer"][0].startswith("Yes: the server had seen")
    assert times(found["lines"], "what", "at", "who", "address") == [
        ("presented here", rfc(REUSED), "photo-backup", "-"),
        (
            *("server refused", rfc(REUSED)),
            *("invalid_grant: the refresh token was already used", "-"),
        ),
        ("new address", rfc(at(3, 13, 30)), "-", "10.0.0.31"),
        ("new address", rfc(THEFT), "-", THIEF_ADDRESS),
    ]
    assert told.stolen_refresh not in desk.ok("ask", "reuse", *ALICE)


def test_question_11_a_benign_race_is_no_reuse(desk: Terminal) -> None:
    """Two replicas refreshed bob's grant at once, and one of them redeemed."""
    found = asked(desk, "reuse", "cloud", "bob")
    assert found["lines"] == []
    assert found["answer"][0].startswith("No refresh token")


def test_question_14_one_revocation_took_effect_and_one_not_yet(
    desk: Terminal, told: Told
) -> None:
    window = ("--from", rfc(REVOKED), "--until", rfc(END))
    found = asked(desk, "took-effect", *window)
    columns = ("grant", "whose", "ticket", "hand_outs_after", "at_the_server")
    assert times(found["lines"], *columns) == [
        (
            *(str(told.grants["alice"]), "alice", TICKET, 0),
            f"confirmed {CONFIRMED:%Y-%m-%d %H:%M:%S} UTC",
        ),
        (
            *(str(told.grants["bob"]), "bob", TICKET, 0),
            "not confirmed: 2 tokens, tried 2 times",
        ),
        (
            *(str(told.grants["erin"]), "(erased)", "-", 0),
            f"confirmed {ERASED:%Y-%m-%d %H:%M:%S} UTC",
        ),
    ]


def test_question_15_the_thief_holds_a_token_that_nobody_has_ended(
    desk: Terminal, told: Told
) -> None:
    said = ("--address", THIEF_ADDRESS, "--from", rfc(THEFT), "--until", rfc(END))
    found = asked(desk, "related", *ALICE, *said)
    assert times(found["lines"], "grant", "label", "same", "state") == [
        (
            *(str(told.grants["alice/work"]), "work"),
            *(["subject", "address"], "not ended"),
        ),
        (str(told.grants["bob"]), "default", ["address"], "ended"),
    ]


def test_question_16_the_insider_had_looked_taken_out_tried_and_made(
    desk: Terminal,
) -> None:
    found = asked(desk, "admin-actions", "--until", rfc(THEFT))
    assert {(line["who"], line["address"]) for line in found["lines"]} == {
        ("admin:mara", MARA_ADDRESS)
    }
    assert [(line["event"], line["reason"]) for line in found["lines"]] == [
        ("AuditAccessed", "history"),
        ("AuditAccessed", "audit_export"),
        ("Denied", "may_not_bulk_revoke"),
        ("Provisioned", "-"),
    ]
    assert cut(found["lines"][0]["at"]) == rfc(INSIDER)


def test_question_17_three_operations_had_no_answer(desk: Terminal) -> None:
    window = ("--from", rfc(at(0, 0)), "--until", rfc(END))
    found = asked(desk, "unknown-outcomes", *window)
    assert [(line["whose"], line["became"]) for line in found["lines"]] == [
        ("dave", "consent needed again"),
        ("dave", "consent needed again"),
        ("carol", "a later answer"),
    ]


def test_question_18_everything_under_one_key_in_a_window(
    desk: Terminal, told: Told
) -> None:
    before, after = told.keys
    until = rfc(KEY_CHANGED)
    found = asked(desk, "under-key", "--key", before, "--until", until)
    assert {line["event"] for line in found["lines"]} == {
        *("Provisioned", "RedemptionIntended", "Rotated", "Exchanged", "HandedOut"),
    }
    consents = [li for li in found["lines"] if li["event"] == "Provisioned"]
    # Of 21: erin's fingerprints went with her.
    assert [line["times"] for line in consents] == [20]
    assert "20 grants" in found["answer"][0]
    none = asked(desk, "under-key", "--key", after, "--until", until)
    assert none["lines"] == []


def test_question_19_the_log_only_grew_and_is_whole_between_two_points(
    desk: Terminal,
) -> None:
    """Wednesday's and Friday's checkpoints were kept by somebody else."""
    first, last = ("wednesday.checkpoint", "friday.checkpoint")
    sizes: list[int] = []
    assert "proves itself" in " ".join(desk.ok("verify", "--checkpoint", first).split())
    for kept in (first, last):
        proof = desk.ok("log", "consistency", "--checkpoint", kept)
        sizes.append(int(proof.split()[1]))
    assert 0 < sizes[0] < sizes[1]


def test_question_20_who_approved_and_under_which_policy(desk: Terminal) -> None:
    found = asked(desk, "approvals", *ALICE)
    columns = ("generation", "at", "who", "address", "flow", "scopes")
    assert times(found["lines"], *columns) == [
        (
            *(1, rfc(at(0, 8)), "portal", "10.0.0.5"),
            *("authorization_code", list(SCOPES)),
        ),
        (
            *(2, rfc(at(4, 10)), "portal", "10.0.0.5"),
            *("authorization_code", list(SCOPES)),
        ),
    ]
    assert all(line["policy"].startswith("2025-03+") for line in found["lines"])


def test_question_21_two_grants_were_left_alone(desk: Terminal, told: Told) -> None:
    found = asked(desk, "unused", "--at", rfc(END), "--days", "3")
    assert [(line["grant"], line["why"]) for line in found["lines"]] == [
        (str(told.grants["frank"]), "never used, never rotated"),
        (str(told.grants["mara/shadow"]), "never rotated"),
    ]


def test_question_22_no_token_was_wider_than_its_consent(desk: Terminal) -> None:
    found = asked(desk, "escalations", "--until", rfc(END))
    assert found["lines"] == []
    assert found["answer"][0].startswith("0 tokens beyond consent, among 1")


def test_question_23_who_read_or_took_out_the_audit_data(desk: Terminal) -> None:
    found = asked(desk, "readers", "--until", rfc(END))
    assert [(line["who"], line["use"]) for line in found["lines"]] == [
        ("admin:mara", "history"),
        ("admin:mara", "audit_export"),
        ("responder:rolf", "trace"),
        ("responder:rolf", "history"),
        ("auditor:ines", "audit_read"),
    ]


def test_asking_is_on_the_record_before_it_is_answered(desk: Terminal) -> None:
    asked(desk, "readers", "--until", rfc(END))
    last = asked(desk, "readers")["lines"][-1]
    assert last["use"] == "audit_read"
    assert last["asked"].startswith("question 23, readers: ")


def test_question_24_a_clock_step_and_an_outage_of_checkpoints(desk: Terminal) -> None:
    found = asked(desk, "gaps", "--until", rfc(END))
    assert [(line["what"], line["words"]) for line in found["lines"]] == [
        ("checkpoint failed", "late"),
        ("checkpoint resumed", f"after {OUTAGE_OVER - OUTAGE}"),
        ("clock step", f"{CLOCK_BACK_SECONDS - 30} s back"),
    ]
    assert ", 0 gaps." in found["answer"][0]


def test_question_25_an_erasure_has_a_receipt_a_bundle_and_leaves_nothing_to_read(
    desk: Terminal, told: Told, tmp_path: Path
) -> None:
    erin = str(told.grants["erin"])
    found = asked(desk, "erasure", "--grant", erin)
    (line,) = found["lines"]
    assert (cut(line["at"]), line["reason"]) == (rfc(ERASED), "user_request")
    assert len(line["receipt"]) == 36
    assert found["answer"][0].endswith("; 0 name its user or a token.")
    evidence = ("evidence", "--erasure", erin)
    made = desk.json(*evidence, str(tmp_path / "bundle"))
    assert made
    key = desk.ok("checkpoint", "--key").strip()
    assert verify_elsewhere(["bundle", str(tmp_path / "bundle"), "--key", key]) == 0
    alive = asked(desk, "erasure", *ALICE)
    assert alive["answer"] == ["This grant was not erased."]
