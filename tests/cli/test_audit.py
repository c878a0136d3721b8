"""The audit trail at the command line: filtered, exported, and on the record itself."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import stat
from typing import Any

import pytest

from grantledger.adapters.cli.exits import MEANINGS
from grantledger.adapters.devserver import DevServer
from grantledger.domain import errors
from tests.cli.scene import Shell
from tests.cli.terminal import Terminal
from tests.telemetry.test_traces import collector

ALICE = ("nc", "alice")
INVALID = MEANINGS[errors.InvalidRequest].exit_code
CONFIGURATION = MEANINGS[errors.ConfigurationError].exit_code
ENDED = MEANINGS[errors.ReauthorizationRequired].exit_code


@pytest.fixture
def lived(place: Terminal, server: DevServer) -> Terminal:
    """Two users' consents, a hand-out, a revocation."""
    place.consented(server)
    place.consented(server, "bob")
    place.ok("token", *ALICE, "--reason", "nightly =run")
    place.ok("revoke", *ALICE, "--reason-text", "gone")
    return place


def events(said: Any) -> list[str]:  # noqa: ANN401 - whatever JSON says
    return [row["event"] for row in said["rows"]]


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_trail_is_shown_oldest_first_and_its_reading_is_in_it(
    lived: Terminal,
) -> None:
    said = lived.json("audit")
    assert events(said)[0] == "Provisioned"
    assert events(said)[-1] == "AuditAccessed"
    assert (said["after"], said["complete"]) == (None, True)
    before = said["rows"][-1]
    assert (before["reason"], before["actor_kind"]) == ("audit_read", "admin")
    assert before["detail"] == "shown: everything"
    again = lived.json("audit", "--event", "AuditAccessed")
    assert len(again["rows"]) == 2
    assert again["complete"] is False


def test_a_table_is_for_people(lived: Terminal) -> None:
    out = lived.ok("audit", "--provider", "nc", "--subject", "alice")
    assert "HandedOut" in out
    assert "Revoked" in out
    assert "bob" not in out
    assert max(map(len, out.splitlines())) <= 100


def test_filters_narrow(lived: Terminal) -> None:
    for said, expected in (
        (("--event", "HandedOut"), {"HandedOut"}),
        (("--provider", "nc", "--subject", "bob"), {"Provisioned", "AuditAccessed"}),
        (("--outcome", "denied"), set[str]()),
        (("--from", "2100-01-01T00:00:00Z"), set[str]()),
        (("--until", "2000-01-01T00:00:00Z"), set[str]()),
        (("--below", "1"), {"Provisioned"}),
        (("--caller", "nobody"), set[str]()),
    ):
        assert set(events(lived.json("audit", *said))) == expected, said


def test_pages_go_on_where_the_last_one_ended(lived: Terminal) -> None:
    whole = lived.json("audit", "--provider", "nc")["rows"]
    found: list[Any] = []
    after: tuple[str, ...] = ()
    for _ in range(20):
        page = lived.json("audit", "--provider", "nc", "--limit", "2", *after)
        assert len(page["rows"]) <= 2
        found += page["rows"]
        if page["after"] is None:
            break
        after = ("--after", page["after"])
    assert found == whole


def test_an_export_has_every_row_in_its_form(lived: Terminal) -> None:
    shown = lived.json("audit")["rows"]
    told = lines(lived.ok("audit", "--format", "ndjson", "--below", "7"))
    assert told == [row for row in shown if row["leaf_index"] < 7]
    text = lived.ok("audit", "--format", "csv", "--below", "7")
    table = list(csv.DictReader(io.StringIO(text)))
    assert [row["event"] for row in table] == [row["event"] for row in told]
    ocsf = lines(lived.ok("audit", "--format", "ocsf", "--below", "7"))
    assert [e["metadata"]["event_code"] for e in ocsf] == [r["event"] for r in told]
    otel = lines(lived.ok("audit", "--format", "otel", "--below", "7"))
    assert len(otel) == len(told)
    reasons = [
        r["reason"] for r in lived.json("audit", "--event", "AuditAccessed")["rows"]
    ]
    assert reasons.count("audit_export") == 4


def test_a_file_is_new_private_and_whole(lived: Terminal) -> None:
    done = lived.run("audit", "--format", "parquet", "--out", "trail.parquet")
    assert (done.code, done.out) == (0, "")
    path = lived.directory / "trail.parquet"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    raw = path.read_bytes()
    assert raw[:4] == raw[-4:] == b"PAR1"
    error = lived.refused(
        CONFIGURATION, "audit", "--format", "csv", "--out", "trail.parquet"
    )
    assert "is not replaced" in error["message"]
    assert path.read_bytes() == raw
    assert not list(lived.directory.glob("*.part"))


def test_logs_are_sent_to_a_collector(lived: Terminal) -> None:
    with collector() as (url, bodies):
        done = lived.run("audit", "--collector", url, "--event", "Provisioned")
    assert (done.code, done.out) == (0, ""), done
    assert ": 2 rows" in done.err
    assert b"".join(bodies).count(b"grantledger.provisioned") == 2


def test_what_cannot_be_is_refused_by_name(place: Terminal) -> None:
    for said, field in (
        (("--format", "parquet"), "out"),
        (("--out", "x"), "out"),
        (("--limit", "0"), "limit"),
        (("--limit", "10001"), "limit"),
        (("--after", "x"), "after"),
        (("--subject", "alice"), "provider"),
        (("--from", "yesterday"), "from"),
        (("--follow", "--until", "2100-01-01T00:00:00Z"), "recorded_until"),
        (("--follow", "--out", "x"), "out"),
        (("--follow", "--format", "csv"), "format"),
        (("--event", "x" * 65), "event"),
        (("--collector", "http://a", "--format", "csv"), "collector"),
        (("--collector", "file:///x"), "collector"),
    ):
        done = place.run("audit", *said)
        assert (done.code, done.out) == (INVALID, ""), done
        assert f"[{field}]" in done.err
    assert not (place.directory / "x").exists()
    assert place.leaves == 0


def test_what_comes_is_followed_until_interrupted(
    shell: Shell, backed_up: Terminal
) -> None:
    process = shell.start("audit", "--follow", "--format", "ndjson")
    assert process.stdout is not None
    try:
        # Its own record is the first thing that it could miss.
        first = process.stdout.readline() if _recorded(backed_up) else ""
        assert json.loads(first)["event"] == "AuditAccessed"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130, err


def _recorded(place: Terminal) -> bool:
    """Read the trail until somebody follows it; that reading is then followed."""
    for _ in range(100):
        rows = place.json("audit", "--event", "AuditAccessed")["rows"]
        if any(row["reason"] == "audit_follow" for row in rows):
            place.ok("audit")
            return True
    return False


def test_nothing_of_a_token_is_in_any_form(lived: Terminal, server: DevServer) -> None:
    """A canary in every place where a caller can put one, and every token."""
    refresh = lived.consented(server, "carol")
    access = lived.ok("token", "nc", "carol", "--reason", "why").strip()
    lived.ok("audit", "--format", "parquet", "--out", "trail.parquet")
    written = (lived.directory / "trail.parquet").read_bytes()
    for form in ("table", "json", "ndjson", "csv", "ocsf", "otel"):
        written += lived.ok("audit", "--format", form).encode()
    ring = (lived.directory / "keyring.json").read_text()
    secrets = [refresh, access, *re.findall(r'"([A-Za-z0-9+/_=-]{40,})"', ring)]
    assert len(secrets) > 5
    for secret in secrets:
        assert secret.encode() not in written
