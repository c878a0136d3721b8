"""Where settings come from besides the file: the environment, secrets, paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from grantledger.adapters.bootstrap.ledgers import (
    guard_of,
    listening_place_of,
    place_of,
)
from grantledger.adapters.bootstrap.opened import key_ring
from grantledger.adapters.settings import parse, process_environment
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.values import Secret
from tests.bootstrap.scene import Home

HERE = Path("/srv/grants")
CANARY = "canary-s3cret"
FIELD = "providers.cloud.client_secret"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///data.db", "/srv/grants/data.db"),
        ("sqlite:////var/data.db", "/var/data.db"),
        ("sqlite+aiosqlite:////var/data.db", "/var/data.db"),
        ("SQLite:///data.db", "/srv/grants/data.db"),
        ("data.db", "/srv/grants/data.db"),
        ("../data.db", "/srv/data.db"),
        ("/var/data.db", "/var/data.db"),
    ],
)
def test_the_ledger_is_named_by_url_or_path(url: str, path: str) -> None:
    assert parse(f"[ledger]\nurl = '{url}'", HERE, {}).ledger_path == Path(path)
    for name in ("DATABASE_URL", "GRANTLEDGER_LEDGER"):
        assert parse("", HERE, {name: url}).ledger_path == Path(path)


def test_the_environment_goes_before_the_file() -> None:
    text = "[ledger]\nurl = 'file.db'"
    environ = {"DATABASE_URL": "sqlite:///env.db"}
    assert parse(text, HERE, environ).ledger_path == HERE / "env.db"
    environ["GRANTLEDGER_LEDGER"] = "own.db"
    assert parse(text, HERE, environ).ledger_path == HERE / "own.db"
    empty = {"DATABASE_URL": "", "GRANTLEDGER_LEDGER": ""}
    assert parse(text, HERE, empty).ledger_path == HERE / "file.db"


def test_where_a_pooled_ledger_listens_is_said_beside_its_url() -> None:
    """Both may hold a password, so both may come from the environment."""
    url = "[ledger]\nurl = 'postgresql://pooler:6432/grants'\nschema = 'tenant'\n"
    plain = parse(url, HERE, {})
    place = place_of(plain)
    assert place is not None
    assert not place.pooled
    assert listening_place_of(plain) is None
    said = f"{url}pooler = 'transaction'\nlisten_url = 'postgresql://db/grants'"
    place, at = (
        place_of(parse(said, HERE, {})),
        listening_place_of(parse(said, HERE, {})),
    )
    assert place is not None
    assert at is not None
    assert place.pooled
    assert place.name == "postgresql://pooler:6432/grants schema tenant"
    assert (at.name, at.pooled) == ("postgresql://db/grants schema tenant", False)
    environ = {"GRANTLEDGER_LISTEN": f"postgresql://me:{CANARY}@own/grants"}
    at = listening_place_of(parse(said, HERE, environ))
    assert at is not None
    assert at.name == "postgresql://own/grants schema tenant"
    assert CANARY not in repr(at)


@pytest.mark.parametrize(
    ("text", "environ", "field"),
    [
        ("pooler = 'session'", {}, "ledger.pooler"),
        ("listen_url = 'postgresql://[::1'", {}, "ledger.listen_url"),
        (
            "",
            {"GRANTLEDGER_LISTEN": f"postgresql://{CANARY}@[::1"},
            "GRANTLEDGER_LISTEN",
        ),
    ],
)
def test_a_wrong_way_to_the_server_is_refused_by_its_setting(
    text: str, environ: dict[str, str], field: str
) -> None:
    with pytest.raises(ConfigurationError, match=field) as caught:
        listening_place_of(parse(f"[ledger]\n{text}", HERE, environ))
    assert caught.value.field == field
    assert CANARY not in repr(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{CANARY}@db/grants",
        f"postgresql+asyncpg://me:{CANARY}@db/grants",
        f"postgres://me:{CANARY}@db/grants",
        "sqlite://data.db",
        "sqlite:data.db",
        "sqlite://",
    ],
)
def test_another_store_is_refused_by_its_scheme(url: str) -> None:
    """Row 21: who asks for a file is told what one looks like; no password is shown."""
    with pytest.raises(ConfigurationError) as caught:
        _ = parse("", HERE, {"DATABASE_URL": url}).ledger_path
    assert caught.value.field == "ledger.url"
    for word in ("DATABASE_URL", url.partition(":")[0].partition("+")[0], "sqlite:///"):
        assert word in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        (":memory:", "names no file"),
        ("sqlite:///data.db?mode=ro", "takes no query"),
        ("~nobody-of-that-name/data.db", "is no path"),
    ],
)
def test_a_ledger_without_a_file_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        _ = parse("", HERE, {"GRANTLEDGER_LEDGER": url}).ledger_path
    assert caught.value.field == "ledger.url"


def test_a_path_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no path") as caught:
        _ = parse('[keys]\nfile = "a\\u0000b"', HERE, {}).keyring_file
    assert caught.value.field == "keys.file"


def test_the_key_ring_is_found_in_the_environment(home: Home) -> None:
    ring = home.ring.reveal()
    moved = home.path / "elsewhere.json"
    home.ring_file.rename(moved)
    for environ in (
        {"GRANTLEDGER_KEYRING": ring},
        {"GRANTLEDGER_KEYRING_FILE": moved.name},
        {"GRANTLEDGER_KEYRING_FILE": str(moved), "GRANTLEDGER_KEYRING": ""},
    ):
        assert key_ring(home.settings(environ)).reveal() == ring
    home.say("keys", env="RING")
    assert key_ring(home.settings({"RING": ring})).reveal() == ring


@pytest.mark.parametrize("environ", [{}, {"RING": ""}])
def test_a_ring_that_is_promised_and_not_there_is_refused(
    home: Home, environ: dict[str, str]
) -> None:
    home.say("keys", env="RING")
    with pytest.raises(ConfigurationError, match="no such variable") as caught:
        key_ring(home.settings(environ))
    assert caught.value.field == "keys.env"


def test_a_broken_ring_in_a_variable_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        key_ring(parse("", HERE, {"GRANTLEDGER_KEYRING": f'{{"v": "{CANARY}"}}'}))
    assert "GRANTLEDGER_KEYRING" in str(caught.value)
    assert CANARY not in str(caught.value) + repr(caught.value)


def test_a_secret_is_read_from_its_file_or_variable(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{CANARY}\n", encoding="utf-8")
    settings = parse("", tmp_path, {"SECRET": f" {CANARY}\n"})
    assert settings.secret("secret", None, FIELD) == Secret(CANARY)
    assert settings.secret(str(tmp_path / "secret"), None, FIELD) == Secret(CANARY)
    assert settings.secret(None, "SECRET", FIELD) == Secret(CANARY)
    assert settings.secret(None, None, FIELD) is None
    assert CANARY not in repr(settings) + repr(settings.file)


def refusal(
    base: Path, environ: dict[str, str], file: str | None, env: str | None
) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        parse("", base, environ).secret(file, env, FIELD)
    assert caught.value.field in str(caught.value)
    assert CANARY not in str(caught.value) + repr(caught.value)
    return caught.value


def test_two_sources_of_one_secret_are_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, {"SECRET": CANARY}, "secret", "SECRET")
    assert error.field == f"{FIELD}_file"
    assert "not both" in str(error)


def test_a_missing_secret_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, {}, "none", None)
    assert error.field == f"{FIELD}_file"
    assert str(tmp_path / "none") in str(error)
    assert refusal(tmp_path, {}, None, "SECRET").field == f"{FIELD}_env"


def test_a_secret_in_the_place_of_its_variable_is_not_shown(tmp_path: Path) -> None:
    assert refusal(tmp_path, {}, None, CANARY).field == f"{FIELD}_env"


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_secret_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_text(text, encoding="utf-8")
    assert "is empty" in str(refusal(tmp_path, {}, "secret", None))
    assert "is empty" in str(refusal(tmp_path, {"SECRET": text}, None, "SECRET"))


def test_a_secret_that_is_no_text_is_refused(tmp_path: Path) -> None:
    raw = CANARY.encode() + b"\xff"
    (tmp_path / "secret").write_bytes(raw)
    assert "UTF-8" in str(refusal(tmp_path, {}, "secret", None))
    environ = {"SECRET": raw.decode("utf-8", "surrogateescape")}
    assert "UTF-8" in str(refusal(tmp_path, environ, None, "SECRET"))


def test_a_secret_file_that_is_no_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "huge").write_text("x" * 65537, encoding="utf-8")
    assert "larger than 65536 bytes" in str(refusal(tmp_path, {}, "huge", None))
    assert "cannot read" in str(refusal(tmp_path, {}, ".", None))


def test_the_environment_that_is_returned_is_a_copy() -> None:
    environment = process_environment()
    assert environment == dict(os.environ)
    assert environment is not os.environ


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", "/srv/grants/grantledger.db.guard"),
        ("[ledger]\nurl = '/var/x.db'", "/var/x.db.guard"),
        ("[ledger]\nurl = 'postgresql:///x'", "/srv/grants/grantledger.guard"),
        ("[ledger]\nguard = '/safe/x.guard'", "/safe/x.guard"),
        ("[ledger]\nguard = 'x.guard'", "/srv/grants/x.guard"),
    ],
)
def test_the_guard_stands_beside_the_ledger_unless_it_is_named(
    text: str, path: str
) -> None:
    assert guard_of(parse(text, HERE, {})) == Path(path)


@pytest.mark.parametrize("origin", ["a b", "a+b", "x" * 129, "é", "a\tb"])
def test_an_origin_that_no_note_can_have_is_refused(origin: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(f'[log]\norigin = "{origin}"', HERE, {})
    assert caught.value.field in {"log.origin", "config"}
    parse('[log]\norigin = "example.com/grants"', HERE, {})
