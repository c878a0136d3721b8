"""What the settings' file may say, field by field, with its bounds."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from grantledger.adapters.settings.bounds import (
    MAX_LISTED,
    Name,
    Roles,
    Subjects,
    Text,
    Texts,
)
from grantledger.adapters.settings.shape_events import AnnouncementSettings
from grantledger.adapters.settings.shape_http import HttpSettings
from grantledger.adapters.settings.shape_log import LogSettings
from grantledger.domain.policy import Role

AuthMethodName = Literal["client_secret_basic", "client_secret_post"]


class _Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base: an unknown name is a mistake, not a hint."""


Days = Annotated[int, msgspec.Meta(ge=1, le=36_500)]


class LedgerSettings(_Settings):
    """Where the ledger is, and how much it takes.

    Attributes:
        url: `sqlite:///path` (four slashes: absolute), a path, or `postgresql://…`.
        schema, spool: with PostgreSQL only: the tenant's; and for untaken answers.
        pooler: `transaction` where the URL leads to a pooler in that mode.
        listen_url: the server itself, for LISTEN; the URL where no pooler is.
        maintenance_url: with PostgreSQL only: the same database as a role that may
            erase and prune, where the broker's own may not.
        erasures: the erasure list; beside the ledger's file, or the settings', by
            default.
        backup_days: how long backups are kept, for receipts; archive_days likewise
            of archived write-ahead logs.
        guard: what this replica last saw of the log, kept outside the database.
        readings: where a login that may only read records what was read, outside the
            database.
        queue_limit: appends, and likewise entries, that wait at most.
        hand_outs_per_second: of one caller; denials likewise.
    """

    url: Text = "sqlite:///grantledger.db"
    schema: Name = "grantledger"
    spool: Text = "grantledger.spool"
    pooler: Literal["none", "transaction"] = "none"
    listen_url: Text | None = None
    maintenance_url: Text | None = None
    erasures: Text | None = None
    backup_days: Annotated[int, msgspec.Meta(ge=0, le=36_500)] | None = None
    archive_days: Annotated[int, msgspec.Meta(ge=0, le=36_500)] | None = None
    guard: Text | None = None
    readings: Text | None = None
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
    access_token_revocation: bool | None = None
    exchange_strategy: Text | None = None
    exchange_target: Text | None = None
    rotation_interval_seconds: float | None = None
    keep_alive: bool | None = None
    rotations_per_minute: float | None = None


class CallerSettings(_Settings):
    """One rule of the policy (see `CallerRule`).

    Attributes:
        subjects: user ids, or `self`: the user whose own token the request brings.
    """

    id: Name
    providers: Texts = []
    subjects: Literal["self"] | Subjects = []
    scopes: list[str] | None = None
    audiences: Texts = []
    roles: Roles = msgspec.field(default_factory=lambda: [Role.CALLER])


class PolicySettings(_Settings):
    """Where the policy is, where it is not `[[callers]]`.

    Attributes:
        file: read at start, and again at SIGHUP.
    """

    file: Text | None = None


class BrokerSettings(_Settings):
    """The broker itself; times in seconds.

    Attributes:
        node: name of this replica; host and process by default.
        release_limit_seconds: an answer later than this is checked once more.
        spool_after_seconds: an answer not stored by then is put on disk as well.
        wait_seconds: how long a caller waits for another's redemption.
        cache_grants: grants kept in memory.
        cache_megabytes: of memory that they take, about.
    """

    node: Name | None = None
    release_limit_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 1.0
    spool_after_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 2.0
    wait_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 45.0
    cache_grants: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 3_000
    cache_megabytes: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 32


class WorkerSettings(_Settings):
    """What runs beside the broker; times in seconds.

    Attributes:
        metrics_listen: as with `http`, of the process that is a worker alone.
        pause_seconds: between two rounds, more or less by a quarter.
        hot_hand_outs: of one token, that make a replica refresh it before its end; 0:
            none ever does.
        audit_trail: make the rows of the audit trail here; False where another
            process does. Who reads the trail makes what is missing.
    """

    metrics_listen: Text | None = None
    pause_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 1.0
    hot_hand_outs: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 3
    audit_trail: bool = True


class TelemetrySettings(_Settings):
    """What operators see beside metrics.

    Attributes:
        traces: URL of an OTLP collector over HTTP, `/v1/traces` is added; off without.
        trace_share: of the requests without a traced parent that are traced.
        forward_traceparent: tell authorization servers the trace, too.
        log_format, log_level: of what `serve` and `worker` say on standard error.
    """

    traces: Text | None = None
    trace_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    forward_traceparent: bool = False
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"


class ConsoleSettings(_Settings):
    """The console of `serve`, and where its visitors sign in (OpenID Connect).

    Attributes:
        issuer: of the server; without one the service has no console.
        client_id: of the console there; its redirect URI is `/console/signed-in`.
        client_secret_file: a file with the secret; likewise `client_secret_env`.
        scopes: asked for beside `openid`.
    """

    issuer: Text | None = None
    client_id: Text | None = None
    client_secret_file: Text | None = None
    client_secret_env: Text | None = None
    auth_method: AuthMethodName = "client_secret_basic"
    discovery_url: Text | None = None
    internal_base_url: Text | None = None
    ca_file: Text | None = None
    scopes: list[str] = []


class RetentionSettings(_Settings):
    """How many days the journal's entries are kept, by class; for ever by default.

    Attributes:
        hand_outs_days: hand-outs, exchanges, and tokens given back.
        denials_days: refusals of callers who were known.
        audit_reads_days: who looked at the audit, and exported it.
        events_sent_days: what receivers acknowledged.
        every_days: what is over waits so long at most.
    """

    hand_outs_days: Days | None = None
    denials_days: Days | None = None
    audit_reads_days: Days | None = None
    events_sent_days: Days | None = None
    every_days: Annotated[int, msgspec.Meta(ge=0, le=365)] = 7


class FileSettings(_Settings):
    """The whole file."""

    ledger: LedgerSettings = msgspec.field(default_factory=LedgerSettings)
    log: LogSettings = msgspec.field(default_factory=LogSettings)
    keys: KeySettings = msgspec.field(default_factory=KeySettings)
    broker: BrokerSettings = msgspec.field(default_factory=BrokerSettings)
    http: HttpSettings = msgspec.field(default_factory=HttpSettings)
    telemetry: TelemetrySettings = msgspec.field(default_factory=TelemetrySettings)
    retention: RetentionSettings = msgspec.field(default_factory=RetentionSettings)
    worker: WorkerSettings = msgspec.field(default_factory=WorkerSettings)
    announcements: AnnouncementSettings = msgspec.field(
        default_factory=AnnouncementSettings
    )
    providers: dict[str, ProviderSettings] = {}
    callers: Annotated[list[CallerSettings], msgspec.Meta(max_length=MAX_LISTED)] = []
    console: ConsoleSettings = msgspec.field(default_factory=ConsoleSettings)
    policy: PolicySettings = msgspec.field(default_factory=PolicySettings)
    policy_version: Name | None = None
