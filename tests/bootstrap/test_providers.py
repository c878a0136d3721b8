"""From settings to a wired provider: credentials, addresses, certificates."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from grantledger.adapters.bootstrap.providers import WiredProvider
from grantledger.adapters.bootstrap.wiring import Wiring
from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.ledger.runner import TaskRunner
from grantledger.adapters.upstream.config import AuthMethod
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.values import ClientSecret
from tests.bootstrap.scene import Home

ISSUER = "https://cloud.example"
CANARY = "canary-s3cret"


def wiring(home: Home) -> Wiring:
    settings = home.settings({"SECRET": CANARY})
    return Wiring(settings, home.ring, SystemClock(), RandomIds(), TaskRunner())


def wired(home: Home, **said: object) -> WiredProvider:
    base: dict[str, object] = {"issuer": ISSUER, "client_id": "broker"}
    home.say("providers.cloud", **base | said)
    return wiring(home).wired["cloud"]


def refused(home: Home, **said: object) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        wired(home, **said)
    error = caught.value
    assert CANARY not in str(error) + repr(error)
    assert error.field in str(error)
    return error


def private_key(path: Path) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem)
    return path.name


def test_a_client_authenticates_as_the_settings_say(home: Home) -> None:
    config = wired(home, client_secret_env="SECRET").config
    assert config.auth_method is AuthMethod.BASIC
    assert config.client_secret == ClientSecret(CANARY)
    for method in (AuthMethod.POST, AuthMethod.BASIC):
        said = wired(home, client_secret_env="SECRET", auth_method=str(method))
        assert said.config.auth_method is method


def test_a_client_without_a_credential_is_a_public_one(home: Home) -> None:
    assert wired(home).config.auth_method is AuthMethod.NONE


def test_a_client_with_a_key_signs_its_assertions(home: Home) -> None:
    name = private_key(home.path / "key.pem")
    said = wired(
        home,
        private_key_file=name,
        private_key_id="k1",
        private_key_algorithm="ES256",
    )
    assert said.config.auth_method is AuthMethod.PRIVATE_KEY_JWT
    assert said.config.private_key_id == "k1"
    assert "BEGIN" not in repr(said.config)


def test_what_consent_asks_for_comes_from_the_settings(home: Home) -> None:
    said = wired(home, scopes=["openid", "a"], resource="urn:x", redirect_port=8765)
    assert said.scopes == ("a", "openid")
    assert said.resource == "urn:x"
    assert said.redirect_port == 8765


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("issuer", "cloud.example", "absolute"),
        ("issuer", "http://cloud.example", "https"),
        ("issuer", "https://cloud.example?x=1", "query"),
        ("issuer", "https://me:pw@cloud.example", "absolute"),
        ("discovery_url", "ftp://cloud.example/x", "absolute"),
        ("discovery_url", "http://cloud.example/x", "https"),
        ("internal_base_url", "http://cloud:8080/path", "scheme, host and port"),
        ("internal_base_url", "cloud:8080", "absolute"),
        ("allowed_origins", ["https://a.example/x"], "scheme, host and port"),
        ("allowed_origins", ["http://a.example"], "https"),
        ("auth_method", "basic", "client_secret_basic, client_secret_post"),
        ("private_key_algorithm", "HS256", "RS256, PS256, ES256"),
        ("registration", "automatic", "static, dynamic"),
        ("preset", "nextcloud", "nextcloud-2.5"),
        ("http_budget_seconds", 0, "above 0"),
        ("unknown_outcome", {"rule": "retry_within_grace", "seconds": 12}, "12 s"),
        ("client_secret_file", "none", "none"),
        ("private_key_file", "none", "none"),
        ("ca_file", "none.pem", "none.pem"),
        ("ca_file", "keyring.json", "keyring.json"),
    ],
)
def test_a_wrong_setting_of_a_provider_is_named_in_full(
    home: Home, field: str, value: object, words: str
) -> None:
    error = refused(home, **{field: value})
    assert error.field == f"providers.cloud.{field}"
    assert words in str(error)


def test_a_provider_without_a_client_is_refused(home: Home) -> None:
    home.say("providers.cloud", issuer=ISSUER)
    with pytest.raises(ConfigurationError, match="is missing") as caught:
        wiring(home)
    assert caught.value.field == "providers.cloud.client_id"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_method_without_its_secret_is_refused(home: Home, method: str) -> None:
    error = refused(home, auth_method=method)
    assert error.field == "providers.cloud.client_secret_file"


def test_both_sources_of_a_secret_are_refused(home: Home) -> None:
    error = refused(home, client_secret_file="x", client_secret_env="SECRET")
    assert error.field == "providers.cloud.client_secret_file"


def test_a_key_that_is_none_is_refused_without_showing_it(home: Home) -> None:
    (home.path / "key.pem").write_text(CANARY, encoding="utf-8")
    error = refused(home, private_key_file="key.pem")
    assert error.field == "providers.cloud.private_key_file"
    error = refused(home, auth_method="private_key_jwt")
    assert error.field == "providers.cloud.private_key_file"


def test_session_audiences_name_someone(home: Home) -> None:
    with pytest.raises(ConfigurationError) as caught:
        wired(home, session_audiences=[""])
    assert caught.value.field == "providers.cloud.session_audiences[0]"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("client_id", "broker"),
        ("client_secret_file", "secret"),
        ("client_secret_env", "SECRET"),
        ("private_key_file", "key.pem"),
    ],
)
def test_a_dynamic_client_brings_its_own_credentials(
    home: Home, field: str, value: str
) -> None:
    home.dynamic(ISSUER, **{field: value})
    with pytest.raises(ConfigurationError, match="static client") as caught:
        wiring(home)
    assert caught.value.field == f"providers.cloud.{field}"


@pytest.mark.parametrize("method", ["private_key_jwt", "nonsense"])
def test_a_dynamic_client_cannot_wish_for_any_method(home: Home, method: str) -> None:
    home.dynamic(ISSUER, auth_method=method)
    with pytest.raises(ConfigurationError) as caught:
        wiring(home)
    assert caught.value.field == "providers.cloud.auth_method"
