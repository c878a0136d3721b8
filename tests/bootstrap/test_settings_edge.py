"""What the settings may say of browsers and of transmitters of events."""

from __future__ import annotations

from pathlib import Path

import pytest

from grantledger.adapters.settings import Settings, parse
from grantledger.domain.errors import ConfigurationError

PROVIDER = '[providers.cloud]\nissuer = "https://cloud.example"\n'
HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"
IDP = f"""
name = "idp"
issuer = "https://idp.example"
audience = "broker"
jwks_uri = "https://idp.example/keys"
secret_hash = "{HASH}"
"""


def settings(http: str, providers: str = PROVIDER) -> Settings:
    return parse(f"{http}\n{providers}", Path(), {})


def transmitter(said: str, providers: str = 'providers = ["cloud"]') -> str:
    return f"[[http.transmitters]]{said}{providers}\n"


def test_a_public_address_is_https_or_on_this_machine() -> None:
    for url in (
        "https://broker.example",
        "https://broker.example/grants/",
        "http://localhost:8080",
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
    ):
        said = settings(f'[http]\npublic_url = "{url}"')
        assert said.file.http.public_url == url
    assert settings("").file.http.public_url is None


@pytest.mark.parametrize(
    "url",
    [
        "http://broker.example",
        "ftp://broker.example",
        "broker.example",
        "https://",
        "https://user@broker.example",
        "https://broker.example/#x",
        "https://broker.example/?x=1",
        "https://broker.example:port",
        "https://broker.example/ä",
        "https://broker.example\\\\@evil.example",
    ],
)
def test_any_other_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings(f'[http]\npublic_url = "{url}"')
    assert refused.value.field == "http.public_url"


def test_where_a_browser_may_be_sent_is_checked_as_well() -> None:
    urls = '["https://app.example/?ok=1", "http://evil.example"]'
    with pytest.raises(ConfigurationError) as refused:
        settings(f"[http.connect]\nreturn_urls = {urls}")
    assert refused.value.field == "http.connect.return_urls[1]"


def test_no_provider_is_called_as_a_path_beside_it() -> None:
    provider = '[providers.session]\nissuer = "https://cloud.example"'
    settings("", provider)
    with pytest.raises(ConfigurationError) as refused:
        settings('[http]\npublic_url = "https://broker.example"', provider)
    assert refused.value.field == "providers.session"


def test_no_issuers_callers_are_called_as_browsers_and_transmitters_are() -> None:
    for name in ("set", "connect"):
        said = (
            f'[[http.issuers]]\nname = "{name}"\nissuer = "https://x"\naudience = "a"'
        )
        with pytest.raises(ConfigurationError) as refused:
            settings(said)
        assert refused.value.field == "http.issuers[0].name"


def test_a_transmitters_events_revoke_for_a_credential_and_ask_for_a_session() -> None:
    (one,) = settings(transmitter(IDP)).file.http.transmitters
    assert one.on_credential_compromise == "revoke"
    assert one.on_session_revoked == "quarantine"


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (transmitter(IDP) + transmitter(IDP), "http.transmitters[0].name"),
        (transmitter(IDP, 'providers = ["clod"]'), "http.transmitters[0].providers"),
        (transmitter(IDP, "providers = []"), "http.transmitters[0].providers"),
        (
            transmitter(IDP + 'discovery_url = "https://idp.example/x"\n'),
            "http.transmitters[0].jwks_uri",
        ),
        (
            transmitter(IDP.replace("https://idp.example/keys", "http://x.example")),
            "http.transmitters[0].jwks_uri",
        ),
    ],
    ids=["twice", "unknown", "none", "two places", "no tls"],
)
def test_a_wrong_transmitter_is_refused_by_name(said: str, field: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings(said)
    assert refused.value.field == field
