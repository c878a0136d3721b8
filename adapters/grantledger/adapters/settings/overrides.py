"""Single settings from the environment, before those of the file.

`GRANTLEDGER__HTTP__LISTEN=0.0.0.0:8080` is `listen` in `[http]`: the setting's path in
capitals, two underscores between its parts. A value is read as TOML, and where it is
none, as a text.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import cast

from grantledger.domain.errors import ConfigurationError

PREFIX = "GRANTLEDGER__"
MAX_DEPTH = 8


def overridden(
    data: dict[str, object], environ: Mapping[str, str]
) -> dict[str, object]:
    """Return the settings with the environment's in their place.

    Raises:
        ConfigurationError: a variable leads through a setting that is no table.
    """
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        parts = name.removeprefix(PREFIX).lower().split("__")
        if not all(parts) or len(parts) > MAX_DEPTH:
            raise ConfigurationError(
                f"{name}: a setting's path, its parts apart by two underscores", name
            )
        table = data
        for part in parts[:-1]:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigurationError(f"{name}: {part} is no table", name)
            table = cast("dict[str, object]", inner)
        table[parts[-1]] = _value(environ[name])
    return data


def _value(text: str) -> object:
    try:
        said = cast("dict[str, object]", tomllib.loads(f"value = {text}"))
    except (ValueError, RecursionError):
        return text
    # A line of its own in the text would be a second setting.
    return said["value"] if len(said) == 1 else text
