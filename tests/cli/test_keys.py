"""`keys`: keys are listed, rotate and retire; nothing of a key is ever shown."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from grantledger.adapters.devserver import DevServer
from grantledger.adapters.keys import changing
from grantledger.adapters.keys.ring import KeyRing
from tests.cli.terminal import Terminal

ALICE = ("nc", "alice")


def ring(place: Terminal) -> Path:
    (path,) = place.directory.glob("keyring*.json")
    return path


def listed(place: Terminal) -> dict[str, Any]:
    return {key["id"]: key for key in place.json("keys", "list")["keys"]}


def wrappings(place: Terminal) -> list[bytes]:
    (ledger,) = place.directory.glob("*.db")
    with closing(sqlite3.connect(ledger)) as connection:
        return [row[0] for row in connection.execute("SELECT wrapped FROM data_keys")]


def test_a_wrapping_key_rotates_and_the_old_one_retires(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server)
    place.ok("token", *ALICE, "--caller", "job-1")
    before = listed(place)
    (old,) = [key for key in before.values() if key["use"] == "kek"]
    assert old["active"]
    assert "data keys" in old["needed_by"]
    wrapped = wrappings(place)
    prepared = place.json("keys", "prepare", "--use", "kek")["prepared"]
    assert place.json("keys", "prepare", "--use", "kek")["prepared"] == prepared
    assert listed(place)[prepared]["prepared"]
    assert place.refused(60, "keys", "retire", old["id"])["field"] == "key"
    said = place.json("keys", "rotate", "--use", "kek")
    assert (said["active"], said["previous"]) == (prepared, old["id"])
    assert said["data_keys"] > 0
    place.ok("keys", "retire", old["id"])
    left = b"".join(path.read_bytes() for path in place.directory.glob("*.db*"))
    assert not any(one in left for one in wrapped), "older wrappings are freed, too"
    after = listed(place)
    assert old["id"] not in after
    assert after[prepared]["active"]
    place.ok("token", *ALICE, "--caller", "job-1")
    place.ok("verify")
    secrets = [key["key"] for key in json.loads(ring(place).read_text())["keys"]]
    shown = place.ok("keys", "list") + json.dumps(after)
    assert not any(secret in shown for secret in secrets)


def test_a_key_that_something_needs_does_not_retire(
    place: Terminal, server: DevServer
) -> None:
    """An older fingerprint key, as long as tokens are searched by it."""
    token = place.consented(server)
    old = KeyRing.load(ring(place))
    place.ok("keys", "rotate", "--use", "fingerprint")
    (key_id,) = [k.id for k in old.keys if k.use == "fingerprint"]
    error = place.refused(58, "keys", "retire", key_id)
    assert error["error"] == "key_in_use"
    assert "fingerprints of tokens" in error["message"]
    found = place.json("incident", "revoke", "--dry-run", "--token-stdin", given=token)
    assert [line["subject"] for line in found["grants"]] == ["alice"]
    assert place.json("keys", "rewrap")["data_keys"] == 0


def test_the_key_that_grants_are_looked_up_by_does_not_rotate(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server)
    before = ring(place).read_bytes()
    error = place.refused(60, "keys", "rotate", "--use", "subject")
    assert "the subject key does not rotate" in error["message"]
    assert ring(place).read_bytes() == before


def test_a_rotation_that_was_cut_short_goes_on(
    place: Terminal, server: DevServer
) -> None:
    """The new key is in the file and active; nothing is made anew yet."""
    place.consented(server)
    path = ring(place)
    place.ok("keys", "prepare", "--use", "mac")
    loaded = KeyRing.load(path)
    newest = loaded.keys[-1]
    loaded.remade(changing.activated(loaded.keys, newest)).save(path, overwrite=True)
    place.ok("status", *ALICE)
    assert place.json("keys", "rewrap")["rows"] == 1
    assert "1 grants' rows" in listed(place)[newest.id]["needed_by"]
