"""Settings as read, with their surroundings resolved: paths, variables, secrets."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path

from grantledger.adapters.settings.bounds import MAX_TEXT_LENGTH
from grantledger.adapters.settings.edge import check_edge
from grantledger.adapters.settings.policy_file import inline_policy, read_policy
from grantledger.adapters.settings.proxied import check_proxied
from grantledger.adapters.settings.shape import (
    CallerSettings,
    FileSettings,
    KeySettings,
    ProviderSettings,
)
from grantledger.adapters.settings.shape_http import HttpSettings
from grantledger.domain.audit import node_with_build
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.policy import Policy
from grantledger.domain.values import MAX_NAME_LENGTH, Secret, parse_scopes

LEDGER_ENV = "GRANTLEDGER_LEDGER"
LEDGER_FILE_ENV = "GRANTLEDGER_LEDGER_FILE"
KEYRING_ENV = "GRANTLEDGER_KEYRING"
KEYRING_FILE_ENV = "GRANTLEDGER_KEYRING_FILE"
DATABASE_ENV = "DATABASE_URL"
LISTEN_ENV = "GRANTLEDGER_LISTEN"
METRICS_DIRECTORY_ENV = "PROMETHEUS_MULTIPROC_DIR"
MAINTENANCE_ENV = "GRANTLEDGER_MAINTENANCE"
SQLITE_PREFIX = "sqlite:///"
MAX_SECRET_BYTES = 64 * 1024

_URL = re.compile(r"([a-z][a-z0-9.-]*)(\+[a-z0-9_.-]+)?:(?://(/?))?", re.IGNORECASE)
_ORIGIN = re.compile(r"[!-*,-~]{1,128}")
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[!\"$-~]+", re.IGNORECASE)


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
        _check_http(file.http, file.providers)
        check_edge(file)
        check_proxied(file.http)
        if file.policy.file is not None and (file.callers or file.policy_version):
            raise ConfigurationError(
                "policy.file: or callers and policy_version, not both", "policy.file"
            )
        if _ORIGIN.fullmatch(file.log.origin) is None:
            raise ConfigurationError(
                "log.origin: 1 to 128 ASCII characters, without spaces and plus signs",
                "log.origin",
            )
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
        said = [(LEDGER_ENV, self._environ.get(LEDGER_ENV))]
        file = self._environ.get(LEDGER_FILE_ENV)
        if file and not said[0][1]:
            text = _text_of(self.path(file, LEDGER_FILE_ENV), LEDGER_FILE_ENV).strip()
            if not text or not text.isprintable():
                raise ConfigurationError(
                    f"{LEDGER_FILE_ENV}: the file holds no URL", LEDGER_FILE_ENV
                )
            said.append((LEDGER_FILE_ENV, text))
        said.append((DATABASE_ENV, self._environ.get(DATABASE_ENV)))
        usual = ("ledger.url", self.file.ledger.url)
        return next(((name, url) for name, url in said if url), usual)

    @property
    def listen_url(self) -> tuple[str, str | None]:
        """(Where the listener's URL was said, the URL); it may hold a password."""
        said = self._environ.get(LISTEN_ENV)
        if said:
            return LISTEN_ENV, said
        return "ledger.listen_url", self.file.ledger.listen_url

    @property
    def maintenance_url(self) -> str | None:
        """The ledger's URL for a role that may erase; it may hold a password."""
        return self._environ.get(MAINTENANCE_ENV) or self.file.ledger.maintenance_url

    @property
    def metrics_directory(self) -> Path | None:
        """Where several processes keep their metrics together, None for one.

        The metrics' library reads the same variable.
        """
        said = self._environ.get(METRICS_DIRECTORY_ENV)
        return None if not said else Path(said)

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
    def recorded_node(self) -> str:
        """The replica as events name it, with the version that it runs."""
        return node_with_build(self.node, version("grantledger"))

    @property
    def has_policy(self) -> bool:
        """Whether any rule was said; without, local callers may do everything."""
        return bool(self.file.callers) or self.file.policy.file is not None

    @property
    def policy(self) -> Policy:
        """The policy as it now stands: the file's, the settings', or everything.

        Raises:
            ConfigurationError: the file cannot be read, or something in it is wrong.
        """
        said = self.file
        if said.policy.file is not None:
            path = self.path(said.policy.file, "policy.file")
            return read_policy(path, said.providers)
        if not said.callers:
            return Policy.open()
        return inline_policy(said.callers, said.policy_version)

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


def _check_http(said: HttpSettings, providers: Collection[str]) -> None:
    """Refuse two of one name: whose token would it be?"""
    for number, issuer in enumerate(said.issuers):
        at = f"http.issuers[{number}]"
        if bool(issuer.subject_providers) is (issuer.subject_claim is None):
            raise ConfigurationError(
                f"{at}.subject_claim: it and subject_providers belong together",
                f"{at}.subject_claim",
            )
        for name in issuer.subject_providers:
            if name not in providers:
                raise ConfigurationError(
                    f"{at}.subject_providers: unknown provider {name!r}",
                    f"{at}.subject_providers",
                )
    for field, names in (
        ("http.issuers", [issuer.name for issuer in said.issuers]),
        ("http.issuers", [issuer.issuer for issuer in said.issuers]),
        ("http.clients", [client.id for client in said.clients]),
    ):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigurationError(f"{field}: {twice!r} stands twice", field)


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
