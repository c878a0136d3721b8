"""Settings: one TOML file, and the environment, which only this package reads.

Secrets never stand in the file: a `*_file` names a file, a `*_env` a variable.
Relative paths count from the file's own directory. A wrong setting is refused by
name, before anything is opened.
"""

from grantledger.adapters.settings.bounds import MAX_LISTED
from grantledger.adapters.settings.reading import (
    CONFIG_ENV,
    DEFAULT_CONFIG,
    config_path,
    load,
    parse,
    process_environment,
)
from grantledger.adapters.settings.resolved import (
    DATABASE_ENV,
    KEYRING_ENV,
    KEYRING_FILE_ENV,
    LEDGER_ENV,
    LISTEN_ENV,
    SQLITE_PREFIX,
    Settings,
)
from grantledger.adapters.settings.shape import (
    BrokerSettings,
    CallerSettings,
    ConsoleSettings,
    FileSettings,
    KeySettings,
    LedgerSettings,
    ProviderSettings,
    TelemetrySettings,
    UnknownOutcomeSettings,
    WorkerSettings,
)
from grantledger.adapters.settings.shape_events import (
    AnnouncementSettings,
    ReceiverSettings,
    TransmitterSettings,
)
from grantledger.adapters.settings.shape_http import (
    CallerIssuerSettings,
    HttpClientSettings,
    HttpSettings,
)
from grantledger.adapters.settings.shape_log import LogSettings, WitnessSettings

__all__ = [
    "CONFIG_ENV",
    "DATABASE_ENV",
    "DEFAULT_CONFIG",
    "KEYRING_ENV",
    "KEYRING_FILE_ENV",
    "LEDGER_ENV",
    "LISTEN_ENV",
    "MAX_LISTED",
    "SQLITE_PREFIX",
    "AnnouncementSettings",
    "BrokerSettings",
    "CallerIssuerSettings",
    "CallerSettings",
    "ConsoleSettings",
    "FileSettings",
    "HttpClientSettings",
    "HttpSettings",
    "KeySettings",
    "LedgerSettings",
    "LogSettings",
    "ProviderSettings",
    "ReceiverSettings",
    "Settings",
    "TelemetrySettings",
    "TransmitterSettings",
    "UnknownOutcomeSettings",
    "WitnessSettings",
    "WorkerSettings",
    "config_path",
    "load",
    "parse",
    "process_environment",
]
