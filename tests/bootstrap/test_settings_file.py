"""What the settings file may say, and what is said of a mistake in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from grantledger.adapters.settings import (
    MAX_LISTED,
    FileSettings,
    ProviderSettings,
    Settings,
    load,
    parse,
)
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.policy import CallerRule

HERE = Path("/nowhere")
ISSUER = "issuer = 'https://cloud.example'"
EVERYTHING = """
policy_version = "2026-01"
[ledger]
url = "sqlite:///data/ledger.db"
queue_limit = 100
hand_outs_per_second = 50
denials_per_second = 2.5
[keys]
file = "ring.json"
[broker]
node = "replica-1"
release_limit_seconds = 0.5
spool_after_seconds = 0
wait_seconds = 30
cache_grants = 5
[[callers]]
id = "scanner"
providers = ["cloud"]
subjects = ["alice"]
scopes = ["files.read"]
audiences = ["files"]
[[callers]]
id = "*"
[providers.cloud]
issuer = "https://cloud.example"
client_id = "broker"
preset = "nextcloud-2.5"
registration = "static"
discovery_url = "https://cloud.example/index.php/apps/oidc/openid-configuration"
internal_base_url = "http://cloud:8080"
allowed_origins = ["https://login.example"]
ca_file = "ca.pem"
auth_method = "private_key_jwt"
client_secret_file = "secret"
private_key_file = "key.pem"
private_key_id = "k1"
private_key_algorithm = "ES256"
scopes = ["openid", "offline_access"]
base_scopes = ["openid"]
default_scopes = ["profile"]
audience = "files"
resource = "https://files.example"
resources = { files = "urn:example:files" }
session_audiences = ["mcp-server"]
redirect_port = 8765
cache_ttl_seconds = 60
cache_early_refresh_seconds = 5
http_budget_seconds = 4
takeover_margin_seconds = 1
default_expires_in_seconds = 600
exchange_default_expires_in_seconds = 120
exchange_cap_seconds = 240
unknown_outcome = { rule = "retry_within_grace", seconds = 20 }
honours_scope = true
absent_refresh_token = "kept"
absent_refresh_expires = "inherit"
single_access_token = false
family_revocation = false
revocation = true
access_token_revocation = false
exchange_strategy = "refresh"
exchange_target = "audience"
rotation_interval_seconds = 86400
keep_alive = true
rotations_per_minute = 30
"""


def refused(text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, HERE, {}, "grantledger.toml")
    return caught.value


def test_every_setting_that_is_documented_can_be_said() -> None:
    settings = parse(EVERYTHING, HERE, {})
    file = settings.file
    assert file.ledger.queue_limit == 100
    assert file.ledger.hand_outs_per_second == 50.0
    assert file.ledger.denials_per_second == 2.5
    assert settings.ledger_path == HERE / "data/ledger.db"
    assert settings.keyring_file == HERE / "ring.json"
    assert settings.node == "replica-1"
    assert (file.broker.release_limit_seconds, file.broker.spool_after_seconds) == (
        0.5,
        0.0,
    )
    assert (file.broker.wait_seconds, file.broker.cache_grants) == (30.0, 5)
    assert settings.policy.version.startswith("2026-01+")
    assert settings.policy.rules == (
        CallerRule(
            "scanner",
            frozenset({"cloud"}),
            frozenset({"alice"}),
            frozenset({"files.read"}),
            frozenset({"files"}),
        ),
        CallerRule("*"),
    )
    said = file.providers["cloud"]
    unsaid = {"client_secret_env"}
    for name in set(ProviderSettings.__struct_fields__) - unsaid:
        assert f"\n{name} = " in EVERYTHING, name
        assert getattr(said, name) not in (None, []), name
    assert said.unknown_outcome is not None
    assert said.unknown_outcome.seconds == 20.0
    assert said.resources == {"files": "urn:example:files"}


def test_an_empty_file_means_the_defaults() -> None:
    settings = parse("", HERE, {})
    assert settings.ledger_path == HERE / "grantledger.db"
    assert settings.keyring_file == HERE / "keyring.json"
    assert settings.keyring_text is None
    assert settings.policy.version == "open"
    assert settings.file.broker.cache_grants == 3_000
    assert settings.file.providers == {}


def test_a_provider_has_a_cache_of_300_seconds_refreshed_30_seconds_early() -> None:
    """Row 1: unsaid, so that the rules' own defaults hold."""
    said = parse(f"[providers.cloud]\n{ISSUER}", HERE, {}).file.providers["cloud"]
    assert said.cache_ttl_seconds is None
    assert said.cache_early_refresh_seconds is None


def test_a_node_without_a_name_is_called_after_its_host_and_process() -> None:
    assert "-" in parse("", HERE, {}).node


P = f"[providers.cloud]\n{ISSUER}\n"
Q = "providers.cloud."
WRONG = [
    # Names that no setting has.
    ("colour = 1", "colour", "no such setting"),
    ("[ledger]\npath = 'x'", "ledger.path", "no such setting"),
    (P + "secret = 's3cret'", Q + "secret", "no"),
    (
        P + "unknown_outcome = {rule = 'x', grace = 3}",
        Q + "unknown_outcome.grace",
        "no such setting",
    ),
    (
        "[[callers]]\nid = 'a'\n[[callers]]\nid = 'b'\nscope = []",
        "callers[1].scope",
        "no",
    ),
    # What is missing.
    ("[providers.cloud]\nclient_id = 'x'", Q + "issuer", "missing"),
    ("[[callers]]\nproviders = []", "callers[0].id", "missing"),
    # Wrong types.
    ("providers = 3", "providers", "no table"),
    ("[providers]\ncloud = 3", "providers.cloud", "Expected `object`, got `int`"),
    (P + "revocation = 'no'", Q + "revocation", "bool"),
    (P + "scopes = 'openid'", Q + "scopes", "array"),
    (P + "scopes = [1]", Q + "scopes[0]", "str"),
    (P + "resources = {a = 1}", Q + "resources", "str"),
    ("[ledger]\nqueue_limit = 1.5", "ledger.queue_limit", "int"),
    ("[ledger]\nqueue_limit = true", "ledger.queue_limit", "int"),
    ("ledger = []", "ledger", "object"),
    # Numbers out of bounds.
    ("[ledger]\nqueue_limit = 0", "ledger.queue_limit", ">= 1"),
    ("[ledger]\nqueue_limit = 1000001", "ledger.queue_limit", "<= 1000000"),
    ("[ledger]\nhand_outs_per_second = nan", "ledger.hand_outs_per_second", ">= 1"),
    (
        "[ledger]\nhand_outs_per_second = inf",
        "ledger.hand_outs_per_second",
        "<= 1000000000",
    ),
    ("[ledger]\nhand_outs_per_second = 0.5", "ledger.hand_outs_per_second", ">= 1"),
    ("[ledger]\ndenials_per_second = 0", "ledger.denials_per_second", ">= 1"),
    ("[ledger]\ndenials_per_second = -1", "ledger.denials_per_second", ">= 1"),
    ("[ledger]\ndenials_per_second = inf", "ledger.denials_per_second", "<= 1000000"),
    ("[broker]\nwait_seconds = 0", "broker.wait_seconds", "> 0"),
    ("[broker]\nwait_seconds = nan", "broker.wait_seconds", "> 0"),
    ("[broker]\nwait_seconds = 3601", "broker.wait_seconds", "<= 3600"),
    ("[broker]\nrelease_limit_seconds = 0", "broker.release_limit_seconds", "> 0"),
    ("[broker]\nrelease_limit_seconds = inf", "broker.release_limit_seconds", "<= 60"),
    ("[broker]\nspool_after_seconds = -0.1", "broker.spool_after_seconds", ">= 0"),
    ("[broker]\nspool_after_seconds = 61", "broker.spool_after_seconds", "<= 60"),
    ("[broker]\ncache_grants = 0", "broker.cache_grants", ">= 1"),
    ("[broker]\ncache_megabytes = 0", "broker.cache_megabytes", ">= 1"),
    ("[broker]\ncache_grants = 1000001", "broker.cache_grants", "<= 1000000"),
    (f"[broker]\nwait_seconds = {'9' * 400}", "broker.wait_seconds", "out of range"),
    (P + "redirect_port = 65536", Q + "redirect_port", "<= 65535"),
    (P + "redirect_port = -1", Q + "redirect_port", ">= 0"),
    # Words and lists out of bounds.
    ("[broker]\nnode = ''", "broker.node", "length >= 1"),
    (f"[broker]\nnode = '{'n' * 129}'", "broker.node", "length <= 128"),
    (f"policy_version = '{'v' * 129}'", "policy_version", "length <= 128"),
    ("[ledger]\nurl = ''", "ledger.url", "length >= 1"),
    (f"[ledger]\nurl = '{'u' * 2049}'", "ledger.url", "length <= 2048"),
    (f"[[callers]]\nid = '{'c' * 129}'", "callers[0].id", "length <= 128"),
    ('[[callers]]\nid = "a\\u0007"', "callers[0].id", "printable"),
    (
        f"[[callers]]\nid = 'a'\nsubjects = ['{'s' * 513}']",
        "callers[0].subjects[0]",
        "<= 512",
    ),
    (
        f"[[callers]]\nid = 'a'\nsubjects = {['s'] * (MAX_LISTED + 1)}",
        "callers[0].subjects",
        "<= 1000",
    ),
    (f"[providers.{'p' * 129}]\n{ISSUER}", "providers", "limit is 1 to 128"),
    (f"[providers.'']\n{ISSUER}", "providers", "limit is 1 to 128"),
    (f'[providers."a\\nb"]\n{ISSUER}', "providers", "printable"),
    # Scopes (RFC 6749 section 3.3).
    (P + "scopes = ['a b']", Q + "scopes", "outside RFC 6749"),
    (P + "base_scopes = ['']", Q + "base_scopes", "1 to 256"),
    (P + f"default_scopes = ['{'s' * 257}']", Q + "default_scopes", "1 to 256"),
    (P + f"scopes = {[str(n) for n in range(101)]}", Q + "scopes", "limit is 100"),
    ("[[callers]]\nid = 'a'\nscopes = ['\"']", "callers[0].scopes", "outside RFC 6749"),
    # Resources (RFC 8707 section 2).
    (P + "resource = 'files'", Q + "resource", "absolute URI"),
    (P + "resource = 'https://f#x'", Q + "resource", "fragment"),
    (P + "resources = {files = '//f'}", Q + "resources.files", "absolute URI"),
    (P + f"resources = {{f = 'x:{'y' * 2048}'}}", Q + "resources.f", "2048"),
    (P + "resources = {'' = 'x:y'}", Q + "resources", "limit is 1 to 128"),
    # What contradicts itself.
    (
        "[[callers]]\nid = 'a'\nproviders = ['clod']",
        "callers[0].providers",
        "unknown provider 'clod'; known: none",
    ),
    ("[keys]\nfile = 'ring.json'\nenv = 'RING'", "keys.env", "not both"),
    # No TOML at all.
    ("[ledger", "config", "at end of document"),
    (f"a = {'9' * 5000}", "config", "limit"),
    ("a = " + "[" * 3000 + "]" * 3000, "config", "recursion"),
]


@pytest.mark.parametrize(("text", "field", "words"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_setting_is_named_with_its_limit(
    text: str, field: str, words: str
) -> None:
    error = refused(text)
    assert error.field == field
    assert words in str(error)
    if field != "config":
        assert field in str(error)


def test_a_secret_written_into_the_file_is_not_repeated() -> None:
    error = refused(f"[providers.cloud]\n{ISSUER}\nclient_secret = 'canary-1'")
    assert error.field == "providers.cloud.client_secret"
    for text in ("client_secret = 3", "client_id = 'canary-1'\nscopes = 'canary-1'"):
        error = refused(f"[providers.cloud]\n{ISSUER}\n{text}")
        assert "canary-1" not in str(error) + repr(error)


def test_settings_made_by_a_program_are_checked_as_well() -> None:
    file = FileSettings(
        providers={"cloud": ProviderSettings(issuer="https://c", scopes=["a b"])}
    )
    with pytest.raises(ConfigurationError) as caught:
        Settings(file, HERE, {})
    assert caught.value.field == "providers.cloud.scopes"


def test_load_reads_the_file_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("[broker]\nnode = 'n1'\n", encoding="utf-8")
    assert load(path, {}).node == "n1"
    assert load(None, {"GRANTLEDGER_CONFIG": str(path)}).node == "n1"
    assert load(path, {}).base == tmp_path


def test_load_without_a_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="grantledger init") as caught:
        load(tmp_path / "none.toml", {})
    assert caught.value.field == "config"


def test_load_reads_the_process_environment_unless_given_another(
    tmp_path: Path,
) -> None:
    path = tmp_path / "my.toml"
    path.write_text("", encoding="utf-8")
    assert load(path).file.providers == {}


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_load_refuses_what_is_no_text(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path
    if content is not None:
        path = tmp_path / "my.toml"
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot read") as caught:
        load(path, {})
    assert caught.value.field == "config"


def test_load_refuses_a_name_that_no_file_can_have() -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        load(Path("a\0b"), {})
