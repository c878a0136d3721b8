"""Settings: one TOML file, and the environment, which only this module reads.

Secrets never stand in the file: a `*_file` names a file, a `*_env` a variable.
Relative paths count from the file's own directory. A wrong setting is refused by
name, before anything is opened.
"""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from grantledger.domain.errors import ConfigurationError
from grantledger.domain.policy import CallerRule, Policy
from grantledger.domain.values import MAX_NAME_LENGTH, Secret, parse_scopes

CONFIG_ENV = "GRANTLEDGER_CONFIG"
LEDGER_ENV = "GRANTLEDGER_LEDGER"
KEYRING_ENV = "GRANTLEDGER_KEYRING"
KEYRING_FILE_ENV = "GRANTLEDGER_KEYRING_FILE"
DATABASE_ENV = "DATABASE_URL"
DEFAULT_CONFIG = "grantledger.toml"
SQLITE_PREFIX = "sqlite:///"


class _Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base: an unknown name is a mistake, not a hint."""


class LedgerSettings(_Settings):
    """Where the ledger is: `sqlite:///path`, or a bare path."""

    url: str = "sqlite:///grantledger.db"
    queue_limit: int = 8192
    hand_outs_per_second: float = 10_000.0
    denials_per_second: float = 10.0


class KeySettings(_Settings):
    """Where the key ring is."""

    file: str = "keyring.json"
    env: str | None = None


class UnknownOutcomeSettings(_Settings):
    """What follows a redemption without an answer."""

    rule: str
    seconds: float | None = None


class ProviderSettings(_Settings):
    """One authorization server; what is left out comes from the preset.

    Attributes:
        preset: `nextcloud-2.5`, `nextcloud-2.0` or `generic`.
        registration: `static`, or `dynamic` (RFC 7591).
        client_secret_file: a file with the secret; likewise `client_secret_env`.
        scopes: asked for at consent.
        session_audiences: accepted in session tokens; the client id by default.
    """

    issuer: str
    client_id: str | None = None
    preset: str = "generic"
    registration: str = "static"
    discovery_url: str | None = None
    internal_base_url: str | None = None
    allowed_origins: list[str] = []
    ca_file: str | None = None
    auth_method: str | None = None
    client_secret_file: str | None = None
    client_secret_env: str | None = None
    private_key_file: str | None = None
    private_key_id: str | None = None
    private_key_algorithm: str = "RS256"
    scopes: list[str] = []
    base_scopes: list[str] | None = None
    default_scopes: list[str] | None = None
    audience: str | None = None
    resource: str | None = None
    resources: dict[str, str] = {}
    session_audiences: list[str] = []
    redirect_port: int = 0
    cache_ttl_seconds: float | None = None
    cache_early_refresh_seconds: float | None = None
    http_budget_seconds: float | None = None
    takeover_margin_seconds: float | None = None
    default_expires_in_seconds: int | None = None
    exchange_default_expires_in_seconds: int | None = None
    exchange_cap_seconds: int | None = None
    unknown_outcome: UnknownOutcomeSettings | None = None
    honours_scope: bool | None = None
    absent_refresh_token: str | None = None
    absent_refresh_expires: str | None = None
    single_access_token: bool | None = None
    family_revocation: bool | None = None
    revocation: bool | None = None
    exchange_strategy: str | None = None
    exchange_target: str | None = None


class CallerSettings(_Settings):
    """One rule of the policy (see `CallerRule`)."""

    id: str
    providers: list[str] = []
    subjects: list[str] = []
    scopes: list[str] | None = None
    audiences: list[str] = []


class BrokerSettings(_Settings):
    """The broker itself; times in seconds."""

    node: str | None = None
    release_limit_seconds: float = 1.0
    spool_after_seconds: float = 2.0
    wait_seconds: float = 45.0
    cache_grants: int = 10_000


class FileSettings(_Settings):
    """The whole file."""

    ledger: LedgerSettings = msgspec.field(default_factory=LedgerSettings)
    keys: KeySettings = msgspec.field(default_factory=KeySettings)
    broker: BrokerSettings = msgspec.field(default_factory=BrokerSettings)
    providers: dict[str, ProviderSettings] = {}
    callers: list[CallerSettings] = []
    policy_version: str | None = None


class Settings:
    """Settings as read, with their surroundings resolved.

    Attributes:
        base: directory that relative paths count from.
        environ: the environment; secrets are taken from it when they are needed.
    """

    def __init__(
        self, file: FileSettings, base: Path, environ: Mapping[str, str]
    ) -> None:
        self.file = file
        self.base = base
        self._environ = environ
        for name in file.providers:
            if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
                raise ConfigurationError(
                    f"provider name {name!r}: 1 to {MAX_NAME_LENGTH} characters",
                    "providers",
                )

    @property
    def ledger_path(self) -> Path:
        """The ledger's file.

        Raises:
            ConfigurationError: the URL names another kind of store.
        """
        url = (
            self._environ.get(LEDGER_ENV)
            or self._environ.get(DATABASE_ENV)
            or self.file.ledger.url
        )
        if url.startswith(SQLITE_PREFIX):
            url = url.removeprefix(SQLITE_PREFIX)
        elif "://" in url:
            scheme = url.split("://", 1)[0]
            raise ConfigurationError(
                f"ledger url has scheme {scheme!r}; this version stores in sqlite:///",
                "ledger.url",
            )
        if not url:
            raise ConfigurationError("ledger url is empty", "ledger.url")
        return self.path(url)

    @property
    def keyring_file(self) -> Path:
        """The key ring's file, used where no variable holds the ring."""
        return self.path(self._environ.get(KEYRING_FILE_ENV) or self.file.keys.file)

    @property
    def keyring_text(self) -> tuple[str, str] | None:
        """(JSON, name of the variable) where the environment holds the ring."""
        name = self.file.keys.env or KEYRING_ENV
        text = self._environ.get(name)
        if text is None and self.file.keys.env is not None:
            raise ConfigurationError(f"variable {name} is not set", "keys.env")
        return None if text is None else (text, name)

    @property
    def node(self) -> str:
        """The name of this replica."""
        return self.file.broker.node or f"{socket.gethostname()}-{os.getpid()}"

    @property
    def policy(self) -> Policy:
        """The policy: the file's callers, or everything where it names none."""
        if not self.file.callers:
            return Policy.open()
        rules = tuple(
            CallerRule(
                caller=c.id,
                providers=frozenset(c.providers),
                subjects=frozenset(c.subjects),
                scopes=None if c.scopes is None else frozenset(c.scopes),
                audiences=frozenset(c.audiences),
            )
            for c in self.file.callers
        )
        return Policy(rules=rules, version=self.file.policy_version or "file")

    def path(self, text: str) -> Path:
        """Return a path of the settings, counted from their file."""
        return (self.base / Path(text).expanduser()).resolve()

    def secret(self, file: str | None, env: str | None, field: str) -> Secret | None:
        """Return a secret from a file or a variable, None where neither is named.

        Raises:
            ConfigurationError: it is named and not there, or both are named.
        """
        if file is not None and env is not None:
            raise ConfigurationError(f"{field}: name a file or a variable", field)
        if env is not None:
            value = self._environ.get(env)
            if not value:
                raise ConfigurationError(f"{field}: variable {env} is not set", field)
            return Secret(value)
        if file is None:
            return None
        path = self.path(file)
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as cause:
            raise ConfigurationError(f"{field}: cannot read {path}", field) from cause
        if not text:
            raise ConfigurationError(f"{field}: {path} is empty", field)
        return Secret(text)


def load(path: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a file.

    Args:
        path: None for GRANTLEDGER_CONFIG, or `grantledger.toml` here.
        environ: None for the process's own.

    Raises:
        ConfigurationError: no such file, or something in it is wrong; `field` is the
            path of the setting.
    """
    env = os.environ if environ is None else environ
    path = path or Path(env.get(CONFIG_ENV) or DEFAULT_CONFIG)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no {path}; `grantledger init` makes one", "config"
        ) from None
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigurationError(f"cannot read {path}: {cause}", "config") from cause
    return parse(text, path.resolve().parent, env, str(path))


def parse(
    text: str, base: Path, environ: Mapping[str, str], origin: str = "settings"
) -> Settings:
    """Return the settings that a TOML text says.

    Args:
        text: the TOML.
        base: directory that relative paths count from.
        environ: where named variables are taken from.
        origin: where the text came from, for messages.

    Raises:
        ConfigurationError: something is wrong; `field` is the path of the setting.
    """
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise ConfigurationError(f"{origin}: {cause}", "config") from cause
    try:
        file = msgspec.convert(data, FileSettings)
    except msgspec.ValidationError as cause:
        words, _, where = str(cause).partition(" - at `$")
        field = where.strip("`.") or "config"
        raise ConfigurationError(f"{origin}: {field}: {words}", field) from cause
    for name, provider in file.providers.items():
        for field in ("scopes", "base_scopes", "default_scopes"):
            _check_scopes(getattr(provider, field), f"providers.{name}.{field}")
    for number, caller in enumerate(file.callers):
        _check_scopes(caller.scopes, f"callers[{number}].scopes")
        if not 0 < len(caller.id) <= MAX_NAME_LENGTH:
            raise ConfigurationError(
                f"{origin}: callers[{number}].id has {len(caller.id)} characters; "
                f"the limit is 1 to {MAX_NAME_LENGTH}",
                f"callers[{number}].id",
            )
    return Settings(file, base, environ)


def _check_scopes(scopes: list[str] | None, field: str) -> None:
    try:
        parse_scopes(scopes)
    except ValueError as cause:
        raise ConfigurationError(f"{field}: {cause}", field) from cause
