"""Settings: one TOML file, and the environment, which only this module reads.

Secrets never stand in the file: a `*_file` names a file, a `*_env` a variable.
Relative paths count from the file's own directory. A wrong setting is refused by
name, before anything is opened.
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar, cast

import msgspec

from grantledger.domain.errors import ConfigurationError
from grantledger.domain.policy import CallerRule, Policy
from grantledger.domain.values import (
    MAX_NAME_LENGTH,
    MAX_SUBJECT_LENGTH,
    Secret,
    parse_scopes,
)

CONFIG_ENV = "GRANTLEDGER_CONFIG"
LEDGER_ENV = "GRANTLEDGER_LEDGER"
KEYRING_ENV = "GRANTLEDGER_KEYRING"
KEYRING_FILE_ENV = "GRANTLEDGER_KEYRING_FILE"
DATABASE_ENV = "DATABASE_URL"
DEFAULT_CONFIG = "grantledger.toml"
SQLITE_PREFIX = "sqlite:///"
MAX_TEXT_LENGTH = 2048
MAX_LISTED = 1000
MAX_SECRET_BYTES = 64 * 1024

_URL = re.compile(r"([a-z][a-z0-9.-]*)(\+[a-z0-9_.-]+)?:(?://(/?))?", re.IGNORECASE)
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[!\"$-~]+", re.IGNORECASE)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)

T = TypeVar("T")
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT_LENGTH)]
Texts = Annotated[list[Text], msgspec.Meta(max_length=MAX_LISTED)]
Subjects = Annotated[
    list[Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SUBJECT_LENGTH)]],
    msgspec.Meta(max_length=MAX_LISTED),
]


class _Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base: an unknown name is a mistake, not a hint."""


class LedgerSettings(_Settings):
    """Where the ledger is, and how much it takes.

    Attributes:
        url: `sqlite:///path` (four slashes: absolute), a path, or `postgresql://…`.
        schema, spool: with PostgreSQL only: the tenant's; and for untaken answers.
        queue_limit: appends, and likewise entries, that wait at most.
        hand_outs_per_second: of one caller; denials likewise.
    """

    url: Text = "sqlite:///grantledger.db"
    schema: Name = "grantledger"
    spool: Text = "grantledger.spool"
    queue_limit: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 8192
    hand_outs_per_second: Annotated[float, msgspec.Meta(ge=1, le=1e9)] = 10_000.0
    denials_per_second: Annotated[float, msgspec.Meta(ge=1, le=1e6)] = 10.0


class KeySettings(_Settings):
    """Where the key ring is: a file, or a variable that holds it."""

    file: Text = "keyring.json"
    env: Name | None = None


class UnknownOutcomeSettings(_Settings):
    """What follows a redemption without an answer."""

    rule: str
    seconds: float | None = None


class ProviderSettings(_Settings):
    """One authorization server; what is left out comes from the preset.

    Attributes:
        preset: `nextcloud-2.5`, `nextcloud-2.0` or `generic`.
        registration: `static`, or `dynamic` (RFC 7591): then there is no `client_id`.
        auth_method: of a static client; wished for in a dynamic registration.
        client_secret_file: a file with the secret; likewise `client_secret_env`.
        scopes: asked for at consent.
        session_audiences: accepted in session tokens; the client id by default.
    """

    issuer: Text
    client_id: Text | None = None
    preset: Text = "generic"
    registration: Text = "static"
    discovery_url: Text | None = None
    internal_base_url: Text | None = None
    allowed_origins: Texts = []
    ca_file: Text | None = None
    auth_method: Text | None = None
    client_secret_file: Text | None = None
    client_secret_env: Text | None = None
    private_key_file: Text | None = None
    private_key_id: Text | None = None
    private_key_algorithm: Text = "RS256"
    scopes: list[str] = []
    base_scopes: list[str] | None = None
    default_scopes: list[str] | None = None
    audience: Text | None = None
    resource: Text | None = None
    resources: dict[str, str] = {}
    session_audiences: Texts = []
    redirect_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    cache_ttl_seconds: float | None = None
    cache_early_refresh_seconds: float | None = None
    http_budget_seconds: float | None = None
    takeover_margin_seconds: float | None = None
    default_expires_in_seconds: int | None = None
    exchange_default_expires_in_seconds: int | None = None
    exchange_cap_seconds: int | None = None
    unknown_outcome: UnknownOutcomeSettings | None = None
    honours_scope: bool | None = None
    absent_refresh_token: Text | None = None
    absent_refresh_expires: Text | None = None
    single_access_token: bool | None = None
    family_revocation: bool | None = None
    revocation: bool | None = None
    exchange_strategy: Text | None = None
    exchange_target: Text | None = None


class CallerSettings(_Settings):
    """One rule of the policy (see `CallerRule`)."""

    id: Name
    providers: Texts = []
    subjects: Subjects = []
    scopes: list[str] | None = None
    audiences: Texts = []


class BrokerSettings(_Settings):
    """The broker itself; times in seconds.

    Attributes:
        node: name of this replica; host and process by default.
        release_limit_seconds: an answer later than this is checked once more.
        spool_after_seconds: an answer not stored by then is put on disk as well.
        wait_seconds: how long a caller waits for another's redemption.
        cache_grants: grants kept in memory.
    """

    node: Name | None = None
    release_limit_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 1.0
    spool_after_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 2.0
    wait_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 45.0
    cache_grants: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000


class FileSettings(_Settings):
    """The whole file."""

    ledger: LedgerSettings = msgspec.field(default_factory=LedgerSettings)
    keys: KeySettings = msgspec.field(default_factory=KeySettings)
    broker: BrokerSettings = msgspec.field(default_factory=BrokerSettings)
    providers: dict[str, ProviderSettings] = {}
    callers: Annotated[list[CallerSettings], msgspec.Meta(max_length=MAX_LISTED)] = []
    policy_version: Name | None = None


class Settings:
    """Settings as read, with their surroundings resolved.

    Attributes:
        file: what the file says.
        base: directory that relative paths count from.

    Raises:
        ConfigurationError: names, scopes or resources are out of bounds.
    """

    def __init__(
        self, file: FileSettings, base: Path, environ: Mapping[str, str]
    ) -> None:
        self.file = file
        self.base = base
        self._environ = environ
        for name, provider in file.providers.items():
            _check_name(name, "providers")
            _check_provider(provider, f"providers.{name}")
        for number, caller in enumerate(file.callers):
            _check_caller(caller, f"callers[{number}]", file)
        if file.keys.env is not None and file.keys.file != KeySettings().file:
            raise ConfigurationError("keys.env: or keys.file, not both", "keys.env")

    @property
    def ledger_path(self) -> Path:
        """The ledger's file; a ConfigurationError where the URL names no file."""
        origin, url = self.ledger_url
        found = _URL.match(url)
        if found is not None:
            if found[1].lower() != "sqlite" or found[3] != "/":
                # Only the scheme is shown: the rest may hold a password.
                raise ConfigurationError(
                    f"{origin} has scheme {found[1]!r}, which names no file; "
                    f"a file is {SQLITE_PREFIX}path, or {SQLITE_PREFIX}/absolute/path",
                    "ledger.url",
                )
            url = url[found.end() :]
            if "?" in url:
                raise ConfigurationError(f"{origin} takes no query", "ledger.url")
        if not url or url == ":memory:":
            raise ConfigurationError(f"{origin} names no file", "ledger.url")
        return self.path(url, "ledger.url")

    @property
    def ledger_url(self) -> tuple[str, str]:
        """(Where the ledger's URL was said, the URL); it may hold a password."""
        said = ((n, self._environ.get(n)) for n in (LEDGER_ENV, DATABASE_ENV))
        usual = ("ledger.url", self.file.ledger.url)
        return next(((name, url) for name, url in said if url), usual)

    @property
    def keyring_file(self) -> Path:
        """The key ring's file, used where no variable holds the ring."""
        named = self._environ.get(KEYRING_FILE_ENV) or self.file.keys.file
        return self.path(named, "keys.file")

    @property
    def keyring_text(self) -> tuple[str, str] | None:
        """(JSON, name of the variable) where the environment holds the ring.

        Raises:
            ConfigurationError: the settings name a variable that is not set.
        """
        name = self.file.keys.env or KEYRING_ENV
        text = self._environ.get(name)
        if not text and self.file.keys.env is not None:
            raise ConfigurationError("keys.env: no such variable is set", "keys.env")
        return (text, name) if text else None

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

    def path(self, text: str, field: str = "config") -> Path:
        """Return a path of the settings, counted from their file.

        Raises:
            ConfigurationError: no file can be called so.
        """
        try:
            return (self.base / Path(text).expanduser()).resolve()
        except (OSError, RuntimeError, ValueError) as cause:
            raise ConfigurationError(f"{field}: {text!r} is no path", field) from cause

    def secret(self, file: str | None, env: str | None, field: str) -> Secret | None:
        """Return a secret from a file or a variable, None where neither is named.

        White space around it is no part of it. `field` is the setting's dotted name
        without `_file` or `_env`.

        Raises:
            ConfigurationError: it is named and not there, or both are named.
        """
        if file is not None and env is not None:
            raise ConfigurationError(
                f"{field}_file: name a file or a variable, not both", f"{field}_file"
            )
        if env is not None:
            # Its name is not shown: it may be the secret itself, in the wrong place.
            field, where = f"{field}_env", "the variable"
            text = self._environ.get(env)
            if text is None:
                raise ConfigurationError(f"{field}: no such variable is set", field)
        elif file is not None:
            field = f"{field}_file"
            path = self.path(file, field)
            where, text = str(path), _text_of(path, field)
        else:
            return None
        text = text.strip()
        if not text:
            raise ConfigurationError(f"{field}: {where} is empty", field)
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise ConfigurationError(f"{field}: {where} is not UTF-8", field)
        return Secret(text)


def _text_of(path: Path, field: str) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
    except OSError as cause:
        raise ConfigurationError(
            f"{field}: cannot read {path}: {cause.strerror}", field
        ) from cause
    if len(raw) > MAX_SECRET_BYTES:
        raise ConfigurationError(
            f"{field}: {path} is larger than {MAX_SECRET_BYTES} bytes", field
        )
    return raw.decode("utf-8", "surrogateescape")


def config_path(path: Path | None, environ: Mapping[str, str] | None = None) -> Path:
    """Return the settings' file: the one named, or the environment's, or the usual."""
    env = os.environ if environ is None else environ
    return path or Path(env.get(CONFIG_ENV) or DEFAULT_CONFIG)


def load(path: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a file (see `config_path`).

    Raises:
        ConfigurationError: no such file, or something in it is wrong; `field` is the
            path of the setting.
    """
    env = os.environ if environ is None else environ
    path = config_path(path, env)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no {path}; `grantledger init` makes one", "config"
        ) from None
    except (OSError, ValueError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else "it is no UTF-8 text"
        raise ConfigurationError(f"cannot read {path}: {why}", "config") from None
    return parse(text, path.resolve().parent, env, str(path))


def parse(
    text: str, base: Path, environ: Mapping[str, str], origin: str = "settings"
) -> Settings:
    """Return the settings that a TOML text says; `origin` is named in messages.

    Relative paths count from `base`; named variables are taken from `environ`.

    Raises:
        ConfigurationError: something is wrong; `field` is the path of the setting.
    """
    try:
        data = cast("dict[str, object]", tomllib.loads(text))
    except (ValueError, RecursionError) as cause:
        raise ConfigurationError(f"{origin}: {cause}", "config") from None
    providers = data.pop("providers", {})
    if not isinstance(providers, dict):
        raise ConfigurationError(f"{origin}: providers is no table", "providers")
    file = _converted(data, FileSettings, "", origin)
    for name, said in cast("dict[str, object]", providers).items():
        # One by one: the converter does not tell the names of a table's entries.
        file.providers[name] = _converted(
            said, ProviderSettings, f"providers.{name}", origin
        )
    return Settings(file, base, environ)


def _converted(said: object, kind: type[T], at: str, origin: str) -> T:
    try:
        return msgspec.convert(said, kind)
    except msgspec.ValidationError as cause:
        words, _, where = str(cause).partition(" - at `$")
        names = [at, where.rstrip("`").lstrip(".").removesuffix("[...]")]
        for known, meaning in ((_UNKNOWN, "no such setting"), (_MISSING, "missing")):
            if found := known.fullmatch(words):
                names.append(found[1])
                words = meaning
        field = ".".join(filter(None, names)) or "config"
        raise ConfigurationError(f"{origin}: {field}: {words}", field) from None


def _check_provider(said: ProviderSettings, at: str) -> None:
    for field in ("scopes", "base_scopes", "default_scopes"):
        _check_scopes(getattr(said, field), f"{at}.{field}")
    if said.resource is not None:
        _check_resource(said.resource, f"{at}.resource")
    for audience, resource in said.resources.items():
        _check_name(audience, f"{at}.resources")
        _check_resource(resource, f"{at}.resources.{audience}")


def _check_caller(said: CallerSettings, at: str, file: FileSettings) -> None:
    _check_name(said.id, f"{at}.id")
    _check_scopes(said.scopes, f"{at}.scopes")
    for name in said.providers:
        if name not in file.providers:
            raise ConfigurationError(
                f"{at}.providers: unknown provider {name!r}; "
                f"known: {', '.join(file.providers) or 'none'}",
                f"{at}.providers",
            )


def _check_name(name: str, field: str) -> None:
    if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise ConfigurationError(
            f"{field}: a name has {len(name)} characters; the limit is 1 to "
            f"{MAX_NAME_LENGTH}, all of them printable",
            field,
        )


def _check_scopes(scopes: list[str] | None, field: str) -> None:
    try:
        parse_scopes(scopes)
    except ValueError as cause:
        raise ConfigurationError(f"{field}: {cause}", field) from cause


def _check_resource(uri: str, field: str) -> None:
    if len(uri) > MAX_TEXT_LENGTH or _URI.fullmatch(uri) is None:
        raise ConfigurationError(
            f"{field}: an absolute URI without fragment (RFC 8707 section 2), "
            f"at most {MAX_TEXT_LENGTH} characters",
            field,
        )


def process_environment() -> Mapping[str, str]:
    """Return the process's environment, for deployments that use other names."""
    return dict(os.environ)
