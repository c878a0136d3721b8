"""A token is traced, and the fleet is looked at as it was, from the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from grantledger.adapters.devserver import DevServer
from tests.cli.scene import add_arguments, client_of, secret_of
from tests.cli.terminal import Terminal

ALICE = ("nc", "alice")


def now() -> str:
    return datetime.now(UTC).isoformat()


def uses(place: Terminal) -> list[str]:
    """Return why the audit was read, as the record says."""
    rows = place.json("audit", "--event", "AuditAccessed")["rows"]
    return [row["reason"] for row in rows]


def only(found: Any) -> Any:  # noqa: ANN401 - whatever JSON says
    (one,) = found["grants"]
    return one


def test_a_leaked_token_is_traced_to_who_holds_what_came_from_it(
    place: Terminal, server: DevServer
) -> None:
    leaked = place.consented(server, "alice")
    place.consented(server, "bob")
    access = place.json("token", *ALICE)["access_token"]
    found = place.json("trace", given=leaked)
    assert (found["found"], found["found_by"]) == (True, "fingerprint")
    one = only(found)
    assert (one["subject"], one["traced"][0]["life"]) == ("alice", "replaced")
    kinds = [token["kind"] for token in one["descendants"]]
    assert sorted(kinds) == ["access_token", "refresh_token"]
    (holder,) = one["holders"]
    assert holder["caller"].startswith("cli:")
    assert one["revocation"]["needed"]
    assert one["live_until"] is not None
    by_mark = place.json("trace", "--fingerprint", one["traced"][0]["fingerprint"])
    assert only(by_mark)["traced"] == one["traced"]
    other = only(place.json("trace", given=access))
    assert [t["kind"] for t in other["ancestors"]] == ["refresh_token"]
    words = place.ok("trace", given=access)
    told = " ".join(words.split())
    assert f"incident revoke --dry-run --grant {one['grant_id']}" in told
    for secret in (leaked, access):
        assert secret not in words + str(found) + str(other)


def test_what_a_trace_says_to_end_is_what_a_dry_run_shows(
    place: Terminal, server: DevServer
) -> None:
    leaked = place.consented(server, "alice")
    place.consented(server, "bob")
    grant_id = only(place.json("trace", given=leaked))["grant_id"]
    shown = place.json("incident", "revoke", "--dry-run", "--grant", grant_id)
    (line,) = shown["grants"]
    assert (line["grant_id"], line["outcome"]) == (grant_id, "would_end")
    done = place.json("incident", "revoke", "--grant", grant_id)
    assert [g["outcome"] for g in done["grants"]] == ["revoked"]
    assert only(place.json("trace", "--grant", grant_id))["status"] == "revoked"


def test_a_token_that_is_nobodys_is_told_so_and_recorded(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server, "alice")
    assert place.ok("trace", given="unknown").startswith("No grant of this ledger")
    assert place.json("trace", "--jti", "nobody")["grants"] == []


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("token", ("--fingerprint", "x", "--jti", "y")),
        ("jti", ("--jti", "x" * 257)),
        ("from", ("--jti", "x", "--from", "yesterday")),
        ("token", ()),
        ("near", ("--jti", "x", "--near", "15")),
        ("near", ("--jti", "x", "--near", "1000001")),
        ("near", ("--grant", "062aac5d-3ed1-48bc-959d-f2f0e42b3002", "--near", "16")),
    ],
)
def test_what_names_no_token_is_refused(
    place: Terminal, field: str, said: tuple[str, ...]
) -> None:
    assert place.refused(20, "trace", *said)["field"] == field


def test_of_a_long_life_the_end_alone_is_read(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server, "alice")
    for _ in range(8):
        place.ok("rotate", *ALICE)
    token = place.json("token", *ALICE)["access_token"]
    whole = only(place.json("trace", given=token))
    near = only(place.json("trace", "--near", "16", given=token))
    assert near["read_after"] is not None
    assert near["traced"] == whole["traced"]
    assert near["revocation"] == whole["revocation"]
    words = " ".join(place.ok("trace", "--near", "16", given=token).split())
    assert f"Read from leaf {near['read_after'] + 1} on" in words
    assert "Read from" not in place.ok("trace", given=token)


def test_the_fleet_is_listed_as_it_was(place: Terminal, server: DevServer) -> None:
    place.consented(server, "alice")
    then = now()
    place.consented(server, "bob")
    place.ok("revoke", *ALICE)
    was = place.json("list", "--at", then)
    assert [(g["subject"], g["status"]) for g in was["grants"]] == [("alice", "active")]
    assert was["log_size"] == 1
    assert place.json("list", "--at-leaf", "0")["grants"] == was["grants"]
    assert "alice" in place.ok("list", "--at-leaf", "0")
    assert place.refused(20, "list", "--at-leaf", "99")["field"] == "position"
    assert place.refused(20, "list", "--at", then, "--at-leaf", "0")["field"] == "at"


def test_a_grant_is_shown_as_it_was_with_a_leaf_the_newest(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server, "alice")
    place.ok("revoke", *ALICE)
    then = place.json("status", *ALICE, "--position", "0")
    assert (then["status"], then["as_of"]["leaf"]) == ("active", 0)
    both = ("--position", "0", "--version", "1")
    assert place.refused(20, "status", *ALICE, *both)["field"] == "at"


def test_a_diff_tells_what_changed_in_between(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server, "alice")
    place.consented(server, "bob")
    then = now()
    place.ok("revoke", *ALICE)
    found = place.json("diff", then)
    (change,) = found["changes"]
    said = {d["field"]: (d["before"], d["after"]) for d in change["differences"]}
    assert said["status"] == ("active", "revoked")
    assert (found["from_size"], change["before"]["leaf"]) == (2, 0)
    one = place.json("diff", "1", "now", "--grant", change["grant_id"])
    assert one["changes"] == [change]
    words = place.ok("diff", then)
    assert "alice" in words
    assert "bob" not in words
    assert place.ok("diff", now()) == "Nothing changed.\n"
    tomorrow = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert place.refused(20, "diff", then, tomorrow)["field"] == "B"
    assert place.refused(20, "diff", "9999")["field"] == "position"


def test_each_look_at_the_past_is_on_the_record(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server, "alice")
    place.ok("trace", given="unknown")
    place.ok("list", "--at-leaf", "0")
    place.ok("status", *ALICE, "--position", "0")
    place.ok("diff", "0")
    assert [use for use in uses(place) if use != "audit_read"] == [
        "trace",
        "as_of",
        "as_of",
        "diff",
    ]


def test_a_jwt_that_was_encoded_anew_is_found_by_its_jti(
    terminal: Terminal, server: DevServer
) -> None:
    client = terminal.client = client_of(server, jwt=True)
    terminal.ok("init")
    terminal.ok(*add_arguments(server, client), given=secret_of(client))
    terminal.consented(server, "alice")
    token = terminal.json("token", *ALICE)["access_token"]
    head, payload, _ = token.split(".")
    found = terminal.json("trace", given=f"{head}.{payload}.AAAA")
    assert found["found_by"] == "jti"
    (one,) = only(found)["traced"]
    assert one == only(terminal.json("trace", given=token))["traced"][0]
    by_jti = terminal.ok("trace", "--jti", one["jti"])
    assert "nobody has checked its signature" in by_jti
