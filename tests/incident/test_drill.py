"""The drill: a token is found in the open, and somebody asks for proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from grantledger.projections.verify.command import main
from tests.cli.terminal import Terminal
from tests.incident.cast import REUSE, THEFT, THIEF_ADDRESS, THIEF_AGENT, TICKET, Told


def rows_of(bundle: Path) -> list[dict[str, Any]]:
    return [json.loads(x) for x in (bundle / "events.ndjson").read_text().splitlines()]


def bundle_of(desk: Terminal, told: Told, name: str) -> Path:
    """Make a bundle from the stolen token alone, unless it was made before."""
    bundle = desk.directory / name
    if not bundle.exists():
        said = desk.json("evidence", name, "--token", given=told.stolen_access)
        assert said["grants"] == [str(told.grants["alice"])]
    return bundle


@pytest.mark.parametrize("place", ["desk", "postgres_desk"])
def test_a_raw_token_gives_a_bundle_that_proves_the_theft(
    request: pytest.FixtureRequest,
    told: Told,
    place: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    desk: Terminal = request.getfixturevalue(place)
    bundle = bundle_of(desk, told, "stolen")
    capsys.readouterr()
    keys = str(bundle / "keys.txt")
    assert main(["bundle", str(bundle), "--keys", keys, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    rows = rows_of(bundle)
    assert said["rows_in_words"] == len(rows)
    # To the thief, by address and agent; sealed fields, so opened ones prove them.
    thief = [r for r in rows if r.get("actor", {}).get("peer_ip") == THIEF_ADDRESS]
    assert [row["event"] for row in thief] == ["HandedOut", "HandedOut", "Denied"]
    assert {row["actor"]["user_agent"] for row in thief} == {THIEF_AGENT}
    assert thief[0]["occurred_at"] == f"{THEFT:%Y-%m-%dT%H:%M:%SZ}"
    opened = (bundle / "opened.ndjson").read_text().splitlines()
    places = {(line["index"], line["entry"]) for line in map(json.loads, opened)}
    assert {(row["index"], row["entry"]) for row in thief} <= places
    # That it was used again by another, and how it ended.
    reused = next(row for row in rows if row["event"] == "ReauthorizationRequired")
    assert REUSE in reused["detail"]
    revoked = next(row for row in rows if row["event"] == "Revoked")
    assert revoked["facts"]["ticket"] == TICKET
    confirmed = next(r for r in rows if r["event"] == "UpstreamRevocationConfirmed")
    assert confirmed["index"] > revoked["index"]


def test_neither_the_token_nor_any_other_is_in_it(desk: Terminal, told: Told) -> None:
    bundle = bundle_of(desk, told, "stolen")
    for path in bundle.rglob("*"):
        data = b"" if path.is_dir() else path.read_bytes()
        for token in (told.stolen_access, told.stolen_refresh, told.exchanged):
            assert token.encode() not in data


def test_nobody_else_s_affairs_are_opened(desk: Terminal, told: Told) -> None:
    bundle = bundle_of(desk, told, "stolen")
    opened = (bundle / "opened.ndjson").read_text().splitlines()
    owners = {line["grant_id"] for line in map(json.loads, opened)}
    assert owners == {told.grants["alice"].hex}
    report = (bundle / "report.html").read_text()
    assert THIEF_ADDRESS in report
    assert "user07" not in report
