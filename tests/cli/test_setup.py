"""`init` and `provider`: all of it or nothing, and what is there stays."""

from __future__ import annotations

import resource
import signal
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from grantledger.adapters.devserver import DevServer
from tests.cli.scene import RESOURCE, SCOPES, add_arguments, client_of, secret_of
from tests.cli.terminal import Terminal


def _everything(directory: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_init_makes_a_place_that_works(terminal: Terminal) -> None:
    made = terminal.json("init", "--dir", "a/b")
    assert sorted(made) == ["config", "keyring", "ledger"]
    config = str(terminal.directory / "a/b/grantledger.toml")
    assert made["config"] == config
    assert terminal.ok("list", "-c", config) == "No grants.\n"
    assert terminal.ok("provider", "list", "-c", config).startswith("No providers")
    assert terminal.json("verify", "-c", config)["leaves"] == 0


@pytest.mark.parametrize("name", ["grantledger.toml", "keyring.json", "grantledger.db"])
def test_init_replaces_nothing(terminal: Terminal, name: str) -> None:
    (terminal.directory / name).write_text("mine")
    assert terminal.refused(60, "init")["field"] == "dir"
    assert _everything(terminal.directory) == {str(terminal.directory / name): b"mine"}


def test_init_leaves_a_dangling_link_alone(terminal: Terminal) -> None:
    (terminal.directory / "keyring.json").symlink_to("elsewhere")
    assert terminal.refused(60, "init")["field"] == "dir"
    assert not (terminal.directory / "elsewhere").exists()


@contextmanager
def _files_up_to(size: int) -> Generator[None]:
    """Let writing fail beyond this size, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [500, 8192])
def test_what_init_cannot_finish_is_taken_back(terminal: Terminal, size: int) -> None:
    with _files_up_to(size):
        done = terminal.run("init", "--dir", "x/y")
    assert done.code in {40, 55, 60}, done
    assert list(terminal.directory.iterdir()) == []


def test_a_provider_is_written_beside_what_is_there(
    terminal: Terminal, server: DevServer
) -> None:
    terminal.ok("init")
    config = terminal.directory / "grantledger.toml"
    before = config.read_text()
    client = client_of(server)
    arguments = add_arguments(server, client, "my cloud")
    more = ("--redirect-port", "8765", "--session-audience", "front")
    added = terminal.json(*arguments, *more, given=secret_of(client))
    assert added["provider"] == "my cloud"
    text = config.read_text()
    assert text.startswith(before.rstrip("\n"))
    said = tomllib.loads(text)["providers"]["my cloud"]
    assert said == {
        "issuer": server.issuer,
        "preset": "nextcloud-2.5",
        "client_id": client.client_id,
        "auth_method": "client_secret_post",
        "scopes": sorted(SCOPES),
        "redirect_port": 8765,
        "session_audiences": ["front"],
        "resources": {"notes": RESOURCE},
        "client_secret_file": "my-cloud.client-secret",
    }
    secret = terminal.directory / "my-cloud.client-secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text().strip() == client.client_secret
    assert "my cloud" in terminal.ok("provider", "list")
    assert "answers as configured" in terminal.ok("provider", "check", "my cloud")


def test_a_secret_file_is_named_not_copied(
    terminal: Terminal, server: DevServer
) -> None:
    terminal.ok("init")
    secret = terminal.directory / "mine"
    secret.write_text("s3cr3t")
    said = ("provider", "add", "x", "--issuer", server.issuer, "--client-id", "c")
    terminal.ok(*said, "--client-secret-file", "mine")
    text = (terminal.directory / "grantledger.toml").read_text()
    assert str(secret) in text
    assert "s3cr3t" not in text


@pytest.mark.parametrize(
    ("arguments", "code", "field"),
    [
        (("--issuer", "http://example.com"), 60, "providers.x.issuer"),
        (("--preset", "odd"), 60, "providers.x.preset"),
        (("--auth-method", "odd"), 60, "providers.x.auth_method"),
        (("--resource", "no-pair"), 20, "resource"),
        (("--resource", "a=not a uri"), 60, "providers.x.resources.a"),
        (("--scope", 'a"b'), 21, "scope"),
        (("--session-audience", ""), 60, "providers.x.session_audiences[0]"),
        (("--session-audience", "\udcff"), 20, "settings"),
    ],
)
def test_a_provider_that_would_not_work_is_not_written(
    terminal: Terminal, arguments: tuple[str, ...], code: int, field: str
) -> None:
    terminal.ok("init")
    before = terminal.files()
    said = ["provider", "add", "x", "--client-id", "c", "--client-secret-stdin"]
    if "--issuer" not in arguments:
        said += ["--issuer", "https://x.example"]
    error = terminal.refused(code, *said, *arguments, given="s3cr3t")
    assert error["field"] == field
    assert terminal.files() == before


def test_a_provider_of_that_name_is_kept(place: Terminal, server: DevServer) -> None:
    before = place.files()
    assert place.client is not None
    arguments = add_arguments(server, place.client)
    assert place.refused(20, *arguments, given="x")["field"] == "name"
    assert place.files() == before


def test_a_secret_that_is_there_is_kept(terminal: Terminal, server: DevServer) -> None:
    terminal.ok("init")
    (terminal.directory / "nc.client-secret").write_text("mine")
    before = terminal.files()
    arguments = add_arguments(server, client_of(server))
    assert terminal.refused(60, *arguments, given="x")["field"] == "config"
    assert terminal.files() == before


def test_a_link_to_the_settings_stays_a_link(terminal: Terminal) -> None:
    terminal.ok("init", "--dir", "real")
    link = terminal.directory / "grantledger.toml"
    link.symlink_to(terminal.directory / "real/grantledger.toml")
    said = ("provider", "add", "x", "--issuer", "https://x.example", "--client-id", "c")
    terminal.ok(*said)
    assert link.is_symlink()
    assert "x.example" in link.read_text()


@pytest.mark.parametrize("size", [1, 900])
def test_settings_that_cannot_be_written_stay_as_they_are(
    terminal: Terminal, size: int
) -> None:
    terminal.ok("init")
    before = _everything(terminal.directory)
    said = ("provider", "add", "x", "--issuer", "https://x.example", "--client-id", "c")
    with _files_up_to(size):
        done = terminal.run(*said, "--client-secret-stdin", given="s3cr3t")
    assert (done.code, "configuration" in done.err) == (60, True), done
    assert _everything(terminal.directory) == before


def test_a_server_that_does_not_answer_is_unavailable(place: Terminal) -> None:
    said = ("provider", "add", "away", "--issuer", "http://127.0.0.1:9", "--client-id")
    place.ok(*said, "c")
    assert place.refused(40, "provider", "check", "away")["retry_after"] > 0


def test_a_server_that_is_another_is_refused(
    place: Terminal, server: DevServer
) -> None:
    """Its metadata name another issuer (RFC 8414 section 3.3)."""
    other = server.issuer.replace("127.0.0.1", "localhost")
    said = ("provider", "add", "other", "--issuer", "https://other.example")
    place.ok(*said, "--client-id", "c")
    place.settings(f'discovery_url = "{other}/.well-known/openid-configuration"\n')
    place.refused(30, "provider", "check", "other")


def test_a_dynamic_provider_can_be_checked(place: Terminal, server: DevServer) -> None:
    place.ok("provider", "add", "dyn", "--issuer", server.issuer, "--dynamic")
    assert place.json("provider", "check", "dyn")["registration_endpoint"]
    listed = {
        one["provider"]: one for one in place.json("provider", "list")["providers"]
    }
    assert listed["dyn"]["registration"] == "dynamic"
