"""The settings' file, read and checked as a whole."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from grantledger.adapters.settings.overrides import overridden
from grantledger.adapters.settings.resolved import Settings
from grantledger.adapters.settings.shape import FileSettings, ProviderSettings
from grantledger.domain.errors import ConfigurationError

CONFIG_ENV = "GRANTLEDGER_CONFIG"
DEFAULT_CONFIG = "grantledger.toml"

_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)

T = TypeVar("T")


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
    data = overridden(data, environ)
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


def process_environment() -> Mapping[str, str]:
    """Return the process's environment, for deployments that use other names."""
    return dict(os.environ)
