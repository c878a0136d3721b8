"""Settings by environment variables, one by one, and the ledger's URL in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.settings import parse
from grantledger.domain.errors import ConfigurationError

HERE = Path("/srv/grants")


def test_a_variable_goes_before_the_file() -> None:
    text = "[http]\nlisten = '127.0.0.1:1'\nmax_connections = 5"
    environ = {
        "GRANTLEDGER__HTTP__LISTEN": "0.0.0.0:8080",
        "GRANTLEDGER__BROKER__NODE": "replica-1",
    }
    said = parse(text, HERE, environ).file
    assert (said.http.listen, said.http.max_connections) == ("0.0.0.0:8080", 5)
    assert said.broker.node == "replica-1"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("GRANTLEDGER__HTTP__MAX_CONNECTIONS", "7", 7),
        ("GRANTLEDGER__PROVIDERS__CLOUD__KEEP_ALIVE", "true", True),
        ("GRANTLEDGER__WORKER__PAUSE_SECONDS", "1.5", 1.5),
        ("GRANTLEDGER__PROVIDERS__CLOUD__SCOPES", "['a', 'b']", ["a", "b"]),
    ],
)
def test_a_value_is_read_as_toml(name: str, text: str, value: object) -> None:
    environ = {
        "GRANTLEDGER__PROVIDERS__CLOUD__ISSUER": "https://cloud.example",
        "GRANTLEDGER__PROVIDERS__CLOUD__CLIENT_ID": "'42'",
        name: text,
    }
    said = parse("", HERE, environ).file
    cloud = said.providers["cloud"]
    found = {
        "MAX_CONNECTIONS": said.http.max_connections,
        "KEEP_ALIVE": cloud.keep_alive,
        "PAUSE_SECONDS": said.worker.pause_seconds,
        "SCOPES": cloud.scopes,
    }
    assert found[name.rpartition("__")[2]] == value
    assert cloud.client_id == "42"


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("GRANTLEDGER__HTTP__NOTHING", "1", "http.nothing"),
        ("GRANTLEDGER__HTTP__MAX_CONNECTIONS", "many", "http.max_connections"),
        ("GRANTLEDGER__", "1", "GRANTLEDGER__"),
        ("GRANTLEDGER__HTTP____LISTEN", "1", "GRANTLEDGER__HTTP____LISTEN"),
        ("GRANTLEDGER__POLICY_VERSION__X", "1", "GRANTLEDGER__POLICY_VERSION__X"),
    ],
)
def test_a_variable_that_says_nothing_known_is_refused(
    name: str, text: str, field: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse("policy_version = 'v'", HERE, {name: text})
    assert caught.value.field == field


@given(st.text())
def test_any_text_is_a_value_or_an_error_of_ours(text: str) -> None:
    try:
        said = parse("", HERE, {"GRANTLEDGER__BROKER__NODE": text})
    except ConfigurationError as error:
        assert error.field == "broker.node"  # noqa: PT017 - either may happen
    else:
        assert said.file.broker.node is not None


def test_a_second_line_is_no_second_setting() -> None:
    environ = {"GRANTLEDGER__BROKER__NODE": "'a'\nother = 1"}
    assert parse("", HERE, environ).file.broker.node == "'a'\nother = 1"


def test_the_ledgers_url_may_stand_in_a_file(tmp_path: Path) -> None:
    """As orchestrators hand out secrets; the file holds a password, its name none."""
    file = tmp_path / "url"
    file.write_text("postgresql://broker:s3cret@db/grants\n")
    environ = {"GRANTLEDGER_LEDGER_FILE": str(file), "DATABASE_URL": "sqlite:///x.db"}
    origin, url = parse("", HERE, environ).ledger_url
    assert origin == "GRANTLEDGER_LEDGER_FILE"
    assert url == "postgresql://broker:s3cret@db/grants"
    environ["GRANTLEDGER_LEDGER"] = "own.db"
    assert parse("", HERE, environ).ledger_path == HERE / "own.db"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"two\nlines", b"\xff"])
def test_a_file_without_a_url_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "url"
    if content is not None:
        file.write_bytes(content)
    settings = parse("", HERE, {"GRANTLEDGER_LEDGER_FILE": str(file)})
    with pytest.raises(ConfigurationError) as caught:
        _ = settings.ledger_url
    assert caught.value.field == "GRANTLEDGER_LEDGER_FILE"
