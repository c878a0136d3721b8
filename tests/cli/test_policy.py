"""`policy check` and `policy explain`."""

from __future__ import annotations

import pytest

from tests.bootstrap.test_policy_file import CLOUD, POLICY
from tests.cli.terminal import Terminal


@pytest.fixture
def said(terminal: Terminal) -> Terminal:
    (terminal.directory / "policy.toml").write_text(POLICY)
    settings = CLOUD + '[policy]\nfile = "policy.toml"\n'
    settings += '[[http.issuers]]\nname = "idp"\nissuer = "https://i"\naudience = "a"\n'
    (terminal.directory / "grantledger.toml").write_text(settings)
    return terminal


def test_a_policy_that_is_right_is_summed_up(said: Terminal) -> None:
    found = said.json("policy", "check")
    assert found["version"].startswith("2026-11+")
    assert (found["rules"], found["roles"], found["warnings"]) == (
        1,
        {"caller": 1},
        [],
    )
    assert "1 rules" in said.ok("policy", "check", "policy.toml")


def test_what_can_never_be_meant_is_warned_of(said: Terminal) -> None:
    other = POLICY.partition("[[rules]]")[2]
    text = POLICY + "[[rules]]" + other
    text += "[[rules]]" + other.replace("idp:", "nobody:")
    (said.directory / "policy.toml").write_text(text)
    assert said.json("policy", "check")["warnings"] == [
        "rule 1: an earlier rule allows all of it",
        "rule 2: no issuer is called nobody",
    ]


def test_a_policy_that_is_wrong_is_refused_by_field(said: Terminal) -> None:
    (said.directory / "other.toml").write_text(POLICY.replace("cloud", "sky"))
    found = said.refused(60, "policy", "check", "other.toml")
    assert found["field"] == "rules[0].providers"


def test_a_decision_is_explained_with_its_rule(said: Terminal) -> None:
    ask = ("policy", "explain", "--provider", "cloud", "--subject", "alice")
    found = said.json(*ask, "--caller", "idp:nightly", "--scope", "files.read")
    assert (found["allowed"], found["rule"]) == (True, 0)
    done = said.refused(13, *ask, "--caller", "idp:nightly", "--scope", "mail")
    assert done["rules"] == [{"rule": 0, "refusals": ["it does not let scopes mail"]}]
    done = said.refused(
        13, *ask, "--caller", "idp:nightly", "--operation", "bulk_revoke"
    )
    assert done["rules"][0]["refusals"] == [
        "its roles are caller, and this takes responder"
    ]
    assert said.refused(13, *ask, "--caller", "idp:other")["rules"] == []
