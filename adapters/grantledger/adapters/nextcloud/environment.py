"""The environment names of an earlier deployment, and what they mean here.

| name | here |
|---|---|
| OIDC_DISCOVERY_URL | where the metadata is; by default under NEXTCLOUD_HOST |
| NEXTCLOUD_HOST | the resource host |
| NEXTCLOUD_OIDC_CLIENT_ID, NEXTCLOUD_OIDC_CLIENT_SECRET | the OAuth client |
| NEXTCLOUD_PUBLIC_ISSUER_URL | the issuer, where its host differs inside |
| NEXTCLOUD_RESOURCE_URI | what audience `nextcloud` means; by default the host |
| DATABASE_URL, TOKEN_STORAGE_DB | the ledger, in this order: a URL, or a path |
| TOKEN_ENCRYPTION_KEY | the earlier broker's Fernet key, for taking over only |
| GRANTLEDGER_LEDGER | the ledger, before all others |
| GRANTLEDGER_KEYRING, GRANTLEDGER_KEYRING_FILE | the key ring, or its file |
| GRANTLEDGER_PRESET | rules of one kind of server (see `bootstrap.rules`) |
| GRANTLEDGER_CLIENT_AUTH | how the client authenticates: client_secret_post |
| GRANTLEDGER_CALLER | how the application is named in the history |

The earlier broker's own database is never written to: where it stands at the
named place, the ledger stands beside it, under the same name and `.ledger`. On
PostgreSQL, what belongs to a ledger outside its database (key ring, answers not yet
stored, guard, erasure list) stands where TOKEN_STORAGE_DB says, as beside a file.
Nothing here reads the process's environment; a mapping is passed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from grantledger.adapters.bootstrap.ledgers import (
    ERASURES_SUFFIX,
    GUARD_SUFFIX,
    SPOOL_SUFFIX,
)
from grantledger.adapters.ledger.postgres.connections import Place, is_url
from grantledger.adapters.nextcloud import earlier
from grantledger.adapters.nextcloud.issuer import PUBLIC_ISSUER, whereabouts
from grantledger.adapters.settings import (
    DATABASE_ENV,
    KEYRING_ENV,
    KEYRING_FILE_ENV,
    LEDGER_ENV,
    FileSettings,
    KeySettings,
    LedgerSettings,
    ProviderSettings,
    Settings,
)
from grantledger.adapters.upstream import urls
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.values import ClientSecret, Secret

PROVIDER = "nextcloud"
AUDIENCE = "nextcloud"
SESSION_AUDIENCE = "mcp-server"
DEFAULT_CALLER = "nextcloud-application"
DEFAULT_LEDGER = "grantledger.db"
BESIDE_SUFFIX = ".ledger"
KEYRING_SUFFIX = ".keyring.json"
WELL_KNOWN = "/.well-known/openid-configuration"

HOST = "NEXTCLOUD_HOST"
DISCOVERY = "OIDC_DISCOVERY_URL"
CLIENT_ID = "NEXTCLOUD_OIDC_CLIENT_ID"
CLIENT_SECRET = "NEXTCLOUD_OIDC_CLIENT_SECRET"  # noqa: S105 - a variable's name
RESOURCE = "NEXTCLOUD_RESOURCE_URI"
STORAGE = "TOKEN_STORAGE_DB"
FERNET_KEY = "TOKEN_ENCRYPTION_KEY"
PRESET = "GRANTLEDGER_PRESET"
CLIENT_AUTH = "GRANTLEDGER_CLIENT_AUTH"
CALLER = "GRANTLEDGER_CALLER"

_SQLITE = ("sqlite:///", "sqlite+aiosqlite:///")


@dataclass(frozen=True, slots=True)
class Server:
    """What an application says of its authorization server.

    Attributes:
        host: the resource host, such as `https://cloud.example.org`.
        cache_ttl: seconds that a token is handed out again, at most.
        cache_early_refresh: seconds before its end that a token counts as missing.
    """

    discovery_url: str
    host: str
    client_id: str
    client_secret: ClientSecret | None
    cache_ttl: float = 300.0
    cache_early_refresh: float = 30.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """An earlier deployment as this program understands it.

    Attributes:
        ledger: the ledger's file; with PostgreSQL, the path that the names of what
            belongs to it begin with.
        postgres: the PostgreSQL database, None where the ledger is a file.
        earlier: the earlier broker's database, where it stands at the named place.
        fernet_key: opens the tokens in `earlier`.
    """

    ledger: Path
    postgres: Place | None = None
    earlier: Path | None = None
    fernet_key: Secret | None = None
    environ: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @classmethod
    def read(
        cls,
        environ: Mapping[str, str],
        database: Path | None = None,
        fernet_key: Secret | None = None,
    ) -> Deployment:
        """Return what the environment says.

        Args:
            environ: names and values.
            database: goes before the environment's.
            fernet_key: goes before the environment's.

        Raises:
            ConfigurationError: the store is of another kind, or not the only one.
        """
        found = database or _database(environ)
        place = found if isinstance(found, Place) else None
        named = _file(environ) if isinstance(found, Place) else found
        named = named.expanduser().absolute()
        beside = named.with_name(named.name + BESIDE_SUFFIX)
        old = named if earlier.is_database(named) else None
        both = named.exists() and beside.exists()
        if place is None and old is None and both:
            raise ConfigurationError(
                f"{named} and {beside} both exist: say which is the ledger with "
                f"{LEDGER_ENV}",
                LEDGER_ENV,
            )
        said = environ.get(FERNET_KEY)
        # Once it stands beside, it stays there, also when the old file is gone.
        return cls(
            ledger=beside if not place and (old or beside.exists()) else named,
            postgres=place,
            earlier=old,
            fernet_key=fernet_key or (Secret(said) if said else None),
            environ=environ,
        )

    @property
    def keyring_file(self) -> Path:
        """The key ring's file, used where no variable holds the ring."""
        named = self.environ.get(KEYRING_FILE_ENV)
        if named:
            return Path(named).expanduser().absolute()
        return self.beside(KEYRING_SUFFIX)

    @property
    def keyring_named(self) -> bool:
        """Whether the operator said where the ring is, so that none is made."""
        return KEYRING_ENV in self.environ or bool(self.environ.get(KEYRING_FILE_ENV))

    @property
    def caller(self) -> str:
        """How the application is named in the history."""
        return self.environ.get(CALLER) or DEFAULT_CALLER

    def server(self) -> Server | None:
        """Return the server that the environment names, None where it names none."""
        host = self.environ.get(HOST, "").rstrip("/")
        discovery = self.environ.get(DISCOVERY) or (host and host + WELL_KNOWN)
        client_id = self.environ.get(CLIENT_ID)
        if not discovery or not client_id:
            return None
        secret = self.environ.get(CLIENT_SECRET)
        return Server(
            discovery_url=discovery,
            host=host or discovery,
            client_id=client_id,
            client_secret=ClientSecret(secret) if secret else None,
        )

    def settings(self, server: Server | None) -> Settings:
        """Return the settings of a broker over this ledger.

        Args:
            server: None for a broker that only opens the ledger.

        Raises:
            ConfigurationError: a setting is wrong; `field` names the variable.
        """
        environ = {
            name: self.environ[name] for name in (KEYRING_ENV,) if name in self.environ
        }
        providers: dict[str, ProviderSettings] = {}
        if server is not None:
            providers[PROVIDER] = self.provider(server)
            if server.client_secret is not None:
                environ[CLIENT_SECRET] = server.client_secret.reveal()
        file = FileSettings(
            ledger=self._ledger(),
            keys=KeySettings(file=str(self.keyring_file)),
            providers=providers,
        )
        return Settings(file, self.ledger.parent, environ)

    def beside(self, suffix: str) -> Path:
        """Return the file that belongs to the ledger under this suffix."""
        return self.ledger.with_name(self.ledger.name + suffix)

    def _ledger(self) -> LedgerSettings:
        if self.postgres is None:
            return LedgerSettings(url=f"sqlite:///{self.ledger}")
        return LedgerSettings(
            url=self.postgres.conninfo,
            spool=str(self.beside(SPOOL_SUFFIX)),
            guard=str(self.beside(GUARD_SUFFIX)),
            erasures=str(self.beside(ERASURES_SUFFIX)),
        )

    def provider(self, server: Server) -> ProviderSettings:
        """Return the provider's settings.

        Raises:
            ConfigurationError: a setting is wrong; `field` names the variable.
        """
        if not server.client_id:
            raise ConfigurationError(f"{CLIENT_ID} is empty", CLIENT_ID)
        where = whereabouts(
            server.discovery_url, self.environ.get(PUBLIC_ISSUER) or None
        )
        secret = None if server.client_secret is None else CLIENT_SECRET
        said = ProviderSettings(
            issuer=where.issuer,
            discovery_url=where.discovery_url,
            internal_base_url=where.internal_base_url,
            client_id=server.client_id,
            client_secret_env=secret,
            auth_method=self.environ.get(CLIENT_AUTH)
            or ("client_secret_post" if secret else "none"),
            session_audiences=[SESSION_AUDIENCE, server.client_id],
            resources={AUDIENCE: self.environ.get(RESOURCE) or server.host},
            cache_ttl_seconds=server.cache_ttl,
            cache_early_refresh_seconds=server.cache_early_refresh,
        )
        named = self.environ.get(PRESET)
        if named:
            said.preset = named
        elif _is_nextcloud(server, where.issuer):
            # What holds for every release: which one it is, the environment does not
            # say. 2.0 ignores `scope` and spends a token even where it returns none;
            # 2.5 always says the scope and always returns one.
            said.preset = "nextcloud-2.5"
            said.honours_scope = False
            said.absent_refresh_token = "consumed"  # noqa: S105 - a rule's word
        return said


def _is_nextcloud(server: Server, issuer: str) -> bool:
    """Tell whether the server is the resource host's own, not an external one."""
    if "/apps/oidc/" in server.discovery_url:
        return True
    host, *own = (urls.split(u) for u in (server.host, server.discovery_url, issuer))
    return host is not None and any(
        at is not None and urls.origin(at) == urls.origin(host) for at in own
    )


def _database(environ: Mapping[str, str]) -> Path | Place:
    for name in (LEDGER_ENV, DATABASE_ENV):
        url = environ.get(name)
        if url:
            return Place(url, setting=name) if is_url(url) else _sqlite_path(url, name)
    return _file(environ)


def _file(environ: Mapping[str, str]) -> Path:
    return Path(environ.get(STORAGE) or DEFAULT_LEDGER)


def _sqlite_path(url: str, name: str) -> Path:
    for prefix in _SQLITE:
        if url.startswith(prefix):
            path = unquote(url.removeprefix(prefix).partition("?")[0])
            if not path or path == ":memory:":
                raise ConfigurationError(f"{name} names no file", name)
            return Path(path)
    if ":" in url.partition("/")[0]:
        # Only the scheme is shown: the rest may hold a password.
        scheme = url.partition(":")[0]
        raise ConfigurationError(
            f"{name} has scheme {scheme!r}; a ledger is at {_SQLITE[0]}path, "
            f"{_SQLITE[1]}path or postgresql://...",
            name,
        )
    return Path(url)
