"""Every branch of the error tree has its exit code, and says why."""

from __future__ import annotations

import inspect
import json
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import typer

from grantledger.adapters.cli.entry import run
from grantledger.adapters.cli.exits import MEANINGS, UNEXPECTED, meaning_of
from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.keys.ring import KeyRing
from grantledger.domain import errors
from tests.cli.scene import SCOPES, add_arguments, client_of, secret_of
from tests.cli.terminal import Terminal
from tests.support.fault_proxy import Fault, FaultProxy

TOKEN = ("token", "nc", "alice")
CALLERS = Path(__file__).parents[2] / "docs/callers.md"

Cause = Callable[[Terminal, DevServer], tuple[str, ...]]


def _revoked(place: Terminal, server: DevServer) -> tuple[str, ...]:
    place.consented(server)
    place.ok("revoke", "nc", "alice")
    return TOKEN


def _refused_upstream(place: Terminal, server: DevServer) -> tuple[str, ...]:
    place.consented(server)
    assert place.client is not None
    server.state.withdraw_consent("alice", place.client.client_id)
    return TOKEN


def _denied(place: Terminal, server: DevServer) -> tuple[str, ...]:
    place.consented(server)
    place.settings('\n[[callers]]\nid = "job-1"\n')
    return (*TOKEN, "--caller", "job-2")


def _scope(place: Terminal, server: DevServer) -> tuple[str, ...]:
    place.consented(server)
    return (*TOKEN, "--scope", "admin")


def _never_registered(place: Terminal, server: DevServer) -> tuple[str, ...]:
    place.ok("provider", "add", "dyn", "--issuer", server.issuer, "--dynamic")
    place.ok("import", "dyn", "alice", given="r" * 128)
    return ("token", "dyn", "alice")


def _outage(place: Terminal, server: DevServer) -> tuple[str, ...]:
    place.consented(server)
    server.state.outage(99, retry_after=30)
    return TOKEN


def _damaged(place: Terminal, server: DevServer) -> tuple[str, ...]:
    place.consented(server)
    with closing(sqlite3.connect(place.directory / "grantledger.db")) as ledger:
        ledger.execute("UPDATE current_grants SET generation = 7")
        ledger.commit()
    return TOKEN


def _other_ring(place: Terminal, server: DevServer) -> tuple[str, ...]:
    assert server.issuer
    path = place.directory / "keyring.json"
    path.unlink()
    KeyRing.generate(os.urandom, SystemClock().now()).save(path)
    return TOKEN


def _newer(place: Terminal, server: DevServer) -> tuple[str, ...]:
    assert server.issuer
    with closing(sqlite3.connect(place.directory / "grantledger.db")) as ledger:
        ledger.execute("PRAGMA user_version = 99")
    return TOKEN


def _foreign(place: Terminal, server: DevServer) -> tuple[str, ...]:
    assert server.issuer
    (place.directory / "grantledger.db").write_text("another program's notes\n")
    return TOKEN


def _missing(place: Terminal, server: DevServer) -> tuple[str, ...]:
    assert server.issuer
    (place.directory / "grantledger.db").unlink()
    return TOKEN


def _malformed(place: Terminal, server: DevServer) -> tuple[str, ...]:
    assert server.issuer
    place.settings("\n[ledger\n")
    return TOKEN


def _nobody(place: Terminal, server: DevServer) -> tuple[str, ...]:
    assert place.directory.is_dir()
    assert server.issuer
    return TOKEN


CAUSES: dict[str, tuple[int, Cause, str | None]] = {
    "not_provisioned": (10, _nobody, None),
    "reauthorization_required": (11, _refused_upstream, None),
    "revoked": (12, _revoked, None),
    "denied": (13, _denied, None),
    "invalid_scope": (21, _scope, "scopes"),
    "client_expired": (31, _never_registered, None),
    "unavailable": (40, _outage, None),
    "ledger_error": (50, _missing, None),
    "wrong_key": (51, _other_ring, None),
    "integrity": (52, _damaged, None),
    "newer_schema": (53, _newer, None),
    "not_a_ledger": (54, _foreign, None),
    "configuration": (60, _malformed, "config"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_a_token_that_cannot_be_had_says_why(
    place: Terminal, server: DevServer, name: str
) -> None:
    code, cause, field = CAUSES[name]
    arguments = cause(place, server)
    before = place.files()
    error = place.refused(code, *arguments)
    assert error["error"] == name
    assert error.get("field") == field
    assert place.files() == before
    assert (error.get("retry_after") is not None) is (code == 40)


def test_a_client_that_the_server_does_not_know(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server)
    assert place.client is not None
    server.state.prune_client(place.client.client_id)
    done = place.run(*TOKEN)
    assert (done.code, done.out) == (30, "")
    assert done.err.startswith("grantledger: upstream_rejected: ")
    assert "operator" in done.err


def test_the_read_only_place_is_named(terminal: Terminal) -> None:
    error = terminal.refused(55, "init", "--dir", "/proc/grantledger")
    assert "/proc/grantledger" in error["message"]


def test_an_unknown_provider_is_told_the_known_ones(place: Terminal) -> None:
    error = place.refused(20, "token", "xx", "alice")
    assert (error["field"], "known: nc" in error["message"]) == ("provider", True)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("token", "nc", "a" * 513), "subject"),
        (("status", "nc", "a" * 513), "subject"),
        (("history", "nc", ""), "subject"),
        (("revoke", "nc", "alice\x1b[31m"), "subject"),
        (("rotate", "nc", "alice", "--label", "x" * 129), "label"),
        (("token", "p" * 129, "alice"), "provider"),
        ((*TOKEN, "--min-ttl", "-1"), "min_ttl_seconds"),
        ((*TOKEN, "--min-ttl", "nan"), "min_ttl_seconds"),
        ((*TOKEN, "--reason", "r" * 501), "reason"),
        ((*TOKEN, "--caller", "c" * 129), "caller"),
        ((*TOKEN, "--caller", "a\nb"), "caller"),
        (("revoke", "nc", "alice", "--ticket", "t" * 501), "ticket"),
        (("revoke", "nc", "alice", "--reason-text", ""), "reason_text"),
        (("list", "--provider", "xx"), "provider"),
        (("connect", "xx", "--no-browser"), "provider"),
        (("provider", "check", "xx"), "provider"),
        (("import", "nc", "a" * 513), "subject"),
        (("import", "nc", "alice", "--expires-at", "soon"), "expires_at"),
        (("import", "nc", "alice", "--expires-at", "2030-01-01"), "expires_at"),
        (("import", "nc", "alice"), "refresh_token"),
        (("import", "xx", "alice"), "refresh_token"),
    ],
)
def test_what_is_out_of_bounds_names_its_field(
    place: Terminal, arguments: tuple[str, ...], field: str
) -> None:
    leaves = place.leaves
    error = place.refused(20, *arguments)
    assert error["field"] == field
    assert place.leaves <= leaves + 2  # a refusal of an authenticated caller is kept
    assert place.json("list")["grants"] == []


@pytest.mark.parametrize("scope", ['a"b', "s" * 257, "ü"])
def test_a_scope_that_cannot_be_one_is_refused(place: Terminal, scope: str) -> None:
    assert place.refused(21, *TOKEN, "--scope", scope)["field"] == "scope"


def test_an_audience_that_the_provider_lacks(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server)
    assert place.client is not None
    session = server.issue_session_token("alice", place.client.client_id)
    asked = ("token", "nc", "--subject-token-stdin", "--audience", "elsewhere")
    assert place.refused(22, *asked, given=session)["field"] == "audience"


def test_a_session_token_that_does_not_verify(place: Terminal) -> None:
    asked = ("token", "nc", "--subject-token-stdin", "--audience", "notes")
    assert place.refused(23, *asked, given="no.such.token")["error"] == "invalid_grant"


def test_a_server_without_exchange_says_so(terminal: Terminal) -> None:
    with DevServer("A") as server:
        client = client_of(server)
        terminal.ok("init")
        terminal.ok(*add_arguments(server, client), given=secret_of(client))
        terminal.client = client
        terminal.consented(server)
        session = server.issue_session_token("alice", client.client_id)
        asked = ("token", "nc", "--subject-token-stdin", "--audience", "notes")
        assert terminal.refused(32, *asked, given=session)["error"] == "unsupported"


def test_a_server_that_limits_the_rate_is_told_apart(terminal: Terminal) -> None:
    settings = DevSettings(throttle_after_failures=0)
    with DevServer("B", settings) as server:
        client = client_of(server)
        terminal.ok("init")
        terminal.ok(*add_arguments(server, client), given=secret_of(client))
        terminal.client = client
        terminal.consented(server)
        error = terminal.run(*TOKEN, "--json")
        assert (error.code, error.json["error"]) == (41, "rate_limited")
        assert error.json["retry_after"] > 0


def test_an_answer_that_never_came_is_told_apart(
    terminal: Terminal, server: DevServer
) -> None:
    with FaultProxy(server.issuer) as proxy:
        client = client_of(server)
        terminal.ok("init")
        terminal.ok(*add_arguments(server, client), given=secret_of(client))
        grace = '{ rule = "retry_within_grace", seconds = 60 }'
        terminal.settings(
            f'internal_base_url = "{proxy.url}"\nunknown_outcome = {grace}\n'
        )
        terminal.client = client
        terminal.consented(server)
        proxy.plan("/token", Fault.RESET_AFTER, times=2)
        done = terminal.run(*TOKEN, "--json")
        assert (done.code, done.json["error"]) == (42, "outcome_unknown")


@pytest.mark.parametrize(
    "arguments",
    [
        ("frob",),
        ("token",),
        ("token", "nc"),
        ("token", "nc", "alice", "--min-ttl", "long"),
        ("token", "nc", "alice", "--subject-token-stdin"),
        ("list", "--status", "odd"),
        ("connect", "nc", "--port", "70000"),
        ("import",),
        ("import", "nc", "alice", "--dry-run"),
        ("import", "--from-sqlite", "x.db"),
        ("import", "--from-sqlite", "x", "--fernet-key-file", "k", "-s", "a"),
        ("provider", "add", "x", "--issuer", "https://x.example"),
        ("provider", "add", "x"),
        ("demo", "--profile", "z"),
    ],
)
def test_a_command_that_is_put_wrongly(
    terminal: Terminal, arguments: tuple[str, ...]
) -> None:
    assert terminal.refused(2, *arguments)["error"] == "usage"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--client-id", "c", "--dynamic"),
        ("--client-id", "c", "--client-secret-file", "f", "--client-secret-stdin"),
    ],
)
def test_a_client_is_registered_in_one_way(
    terminal: Terminal, arguments: tuple[str, ...]
) -> None:
    said = ("provider", "add", "x", "--issuer", "https://x.example", *arguments)
    assert terminal.refused(2, *said)["error"] == "usage"


def test_no_command_shows_what_there_is(terminal: Terminal) -> None:
    done = terminal.run()
    assert done.code == 2
    assert "provider" in done.out
    assert terminal.run("token", "--help").code == 0


def test_every_branch_of_the_tree_has_an_exit_code_of_its_own() -> None:
    tree = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.GrantledgerError)
    } - {errors.GrantledgerError}
    assert set(MEANINGS) == tree
    codes = [meaning.exit_code for meaning in MEANINGS.values()]
    assert len(set(codes)) == len(codes)
    assert not set(codes) & {0, 1, 2, 130, 141}


def test_a_branch_that_is_new_exits_as_its_parent() -> None:
    class Busy(errors.Unavailable):
        pass

    assert meaning_of(Busy("busy")).exit_code == 40
    assert meaning_of(errors.GrantledgerError("odd")).exit_code == UNEXPECTED


def test_the_page_for_callers_shows_the_same_table() -> None:
    row = re.compile(r"^\| `(\w+)` \| (\d{1,2}) \|", re.MULTILINE)
    rows: list[tuple[str, str]] = row.findall(CALLERS.read_text(encoding="utf-8"))
    assert dict(rows) == {
        kind.code: str(meaning.exit_code) for kind, meaning in MEANINGS.items()
    }


def _failing(error: BaseException) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise error

    return app


def test_a_mistake_of_our_own_shows_no_value(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = _failing(ValueError("holds s3cr3t"))
    assert run([], app) == UNEXPECTED
    said = capsys.readouterr()
    assert "ValueError" in said.err
    assert "s3cr3t" not in said.err + said.out
    assert run(["--json"], app) == 2  # this app has no such option


def test_a_group_of_errors_tells_the_one_to_act_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    inner = ExceptionGroup("b", [errors.Unavailable("busy", 7.0)])
    group = BaseExceptionGroup("a", [ValueError("x"), inner])
    assert run([], _failing(group)) == 40
    assert "Nothing is lost; try again in 7 s." in capsys.readouterr().err
    assert run([], _failing(ExceptionGroup("a", [ValueError("x")]))) == UNEXPECTED


def test_an_error_in_words_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.Unavailable("first\nsecond", 0.2)
    assert run([], _failing(error)) == 40
    assert capsys.readouterr().err.count("\n") == 1


def test_a_grant_of_all_scopes_is_what_the_server_says(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server)
    handed = place.json(*TOKEN)
    assert handed["scopes"] == sorted(SCOPES)
    assert json.dumps(handed)
