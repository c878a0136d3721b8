"""What the earlier deployment's environment names mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from grantledger.adapters.nextcloud.environment import Deployment, Server
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.values import ClientSecret
from tests.nextcloud.scene import earlier_database

HOST = "https://cloud.example.org"


def server(discovery_url: str = f"{HOST}/.well-known/openid-configuration") -> Server:
    return Server(discovery_url, HOST, "client", ClientSecret("s3cret"))


@pytest.mark.parametrize(
    ("environ", "file"),
    [
        ({"TOKEN_STORAGE_DB": "a/tokens.db"}, "a/tokens.db"),
        ({"DATABASE_URL": "sqlite:///b.db", "TOKEN_STORAGE_DB": "a.db"}, "b.db"),
        ({"DATABASE_URL": "sqlite+aiosqlite:///b.db?timeout=30"}, "b.db"),
        ({"DATABASE_URL": "sqlite:///with%20space.db"}, "with space.db"),
        ({"GRANTLEDGER_LEDGER": "c.db", "DATABASE_URL": "sqlite:///b.db"}, "c.db"),
        ({}, "grantledger.db"),
    ],
)
def test_the_ledger_is_where_the_environment_says(
    environ: dict[str, str], file: str
) -> None:
    assert Deployment.read(environ).ledger == Path.cwd() / file


def test_an_absolute_url_is_an_absolute_path(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'ledger.db'}"
    assert Deployment.read({"DATABASE_URL": url}).ledger == tmp_path / "ledger.db"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://u:hidden@db/ledger", "'mysql'"),
        ("mysql+aiomysql://u:hidden@db/ledger", "'mysql\\+aiomysql'"),
        ("postgresql://u:hidden@db/ledger?ssl=require", "libpq"),
        ("postgresql:hidden", "'postgresql'"),
        ("sqlite:///", "no file"),
        ("sqlite:///:memory:", "no file"),
    ],
)
def test_another_kind_of_store_is_refused_by_name(url: str, words: str) -> None:
    """And the password in the URL is not repeated."""
    with pytest.raises(ConfigurationError, match=words) as refused:
        Deployment.read({"DATABASE_URL": url})
    assert refused.value.field == "DATABASE_URL"
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("name", ["DATABASE_URL", "GRANTLEDGER_LEDGER"])
def test_a_postgresql_url_is_taken_and_its_password_not_shown(name: str) -> None:
    found = Deployment.read(
        {name: "postgresql+psycopg://u:hidden@db/ledger", "TOKEN_STORAGE_DB": "a.db"}
    )
    assert found.postgres is not None
    assert found.postgres.name == "postgresql://db/ledger schema grantledger"
    assert found.ledger == Path.cwd() / "a.db"
    assert "hidden" not in repr(found)


def test_the_ledger_stands_beside_the_earlier_database(tmp_path: Path) -> None:
    named, beside = tmp_path / "tokens.db", tmp_path / "tokens.db.ledger"
    environ = {"TOKEN_STORAGE_DB": str(named)}
    assert Deployment.read(environ).ledger == named
    earlier_database(named, Fernet.generate_key(), {})
    found = Deployment.read(environ)
    assert (found.ledger, found.earlier) == (beside, named)
    # It stays there when the earlier database has gone.
    beside.write_bytes(b"")
    named.unlink()
    found = Deployment.read(environ)
    assert (found.ledger, found.earlier) == (beside, None)


def test_two_files_that_may_be_the_ledger_are_refused(tmp_path: Path) -> None:
    for name in ("tokens.db", "tokens.db.ledger"):
        (tmp_path / name).write_bytes(b"SQLite format 3\0" + b"x" * 100)
    with pytest.raises(ConfigurationError, match="both exist"):
        Deployment.read({"TOKEN_STORAGE_DB": str(tmp_path / "tokens.db")})


def test_the_server_is_where_the_environment_says() -> None:
    environ = {
        "NEXTCLOUD_HOST": HOST + "/",
        "NEXTCLOUD_OIDC_CLIENT_ID": "client",
        "NEXTCLOUD_OIDC_CLIENT_SECRET": "s3cret",
    }
    found = Deployment.read(environ).server()
    assert found == server()
    assert "s3cret" not in repr(found)
    elsewhere = {"OIDC_DISCOVERY_URL": "https://idp/.well-known/openid-configuration"}
    found = Deployment.read(environ | elsewhere).server()
    assert found is not None
    assert found.discovery_url == elsewhere["OIDC_DISCOVERY_URL"]
    del environ["NEXTCLOUD_HOST"], environ["NEXTCLOUD_OIDC_CLIENT_SECRET"]
    found = Deployment.read(environ | elsewhere).server()
    assert found is not None
    assert found.client_secret is None


@pytest.mark.parametrize("lacking", ["NEXTCLOUD_HOST", "NEXTCLOUD_OIDC_CLIENT_ID"])
def test_without_host_or_client_no_server_is_known(lacking: str) -> None:
    environ = {"NEXTCLOUD_HOST": HOST, "NEXTCLOUD_OIDC_CLIENT_ID": "client"}
    del environ[lacking]
    assert Deployment.read(environ).server() is None


def test_nextclouds_own_server_gets_rules_that_hold_for_each_release() -> None:
    said = Deployment.read({}).provider(server())
    assert said.preset == "nextcloud-2.5"
    assert said.honours_scope is False
    assert said.absent_refresh_token == "consumed"
    assert said.auth_method == "client_secret_post"
    assert said.resources == {"nextcloud": HOST}
    assert said.session_audiences == ["mcp-server", "client"]
    app = "https://other.example/index.php/apps/oidc/openid-configuration"
    assert Deployment.read({}).provider(server(app)).preset == "nextcloud-2.5"


def test_another_server_gets_the_careful_rules() -> None:
    url = "https://idp.example.org/realms/x/.well-known/openid-configuration"
    said = Deployment.read({}).provider(server(url))
    assert said.preset == "generic"
    assert said.issuer == "https://idp.example.org/realms/x"
    assert said.honours_scope is None


def test_the_environment_may_know_better() -> None:
    environ = {
        "GRANTLEDGER_PRESET": "nextcloud-2.0",
        "GRANTLEDGER_CLIENT_AUTH": "client_secret_basic",
        "GRANTLEDGER_CALLER": "indexer",
        "NEXTCLOUD_RESOURCE_URI": "https://cloud.example.org/api",
    }
    deployment = Deployment.read(environ)
    said = deployment.provider(server())
    assert (said.preset, said.honours_scope) == ("nextcloud-2.0", None)
    assert said.auth_method == "client_secret_basic"
    assert said.resources == {"nextcloud": "https://cloud.example.org/api"}
    assert deployment.caller == "indexer"


def test_a_client_without_a_secret_is_public() -> None:
    public = Server(server().discovery_url, HOST, "client", None)
    said = Deployment.read({}).provider(public)
    assert (said.auth_method, said.client_secret_env) == ("none", None)


def test_a_client_without_an_id_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="NEXTCLOUD_OIDC_CLIENT_ID"):
        Deployment.read({}).provider(Server(server().discovery_url, HOST, "", None))


def test_a_malformed_discovery_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="OIDC_DISCOVERY_URL"):
        Deployment.read({}).provider(server("cloud.example.org"))


def test_secrets_of_the_environment_are_not_shown() -> None:
    environ = {
        "TOKEN_ENCRYPTION_KEY": "fernet-key",
        "NEXTCLOUD_OIDC_CLIENT_SECRET": "s3cret",
    }
    shown = repr(Deployment.read(environ))
    assert "fernet-key" not in shown
    assert "s3cret" not in shown
