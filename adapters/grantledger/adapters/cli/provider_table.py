"""Appends one provider's table to the settings, whole and checked, or not at all.

What stands in the file stays as it is, comments included.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from grantledger.adapters.cli.files import replace, write_private
from grantledger.adapters.settings import (
    Settings,
    config_path,
    load,
    parse,
    process_environment,
)
from grantledger.domain.errors import ConfigurationError, InvalidRequest

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_FILE_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Addition:
    """A provider to be added.

    Attributes:
        said: its settings, in the order in which they are written.
        secret: the client's, to be stored in a file of its own.
    """

    name: str
    said: dict[str, object]
    secret: str | None = field(default=None, repr=False)


async def add_table(
    config: Path | None,
    addition: Addition,
    check: Callable[[Settings, str], Awaitable[None]],
) -> Path:
    """Append the provider to the settings; return their file.

    Args:
        config: the settings' file, None for the usual one.
        addition: what to add.
        check: raises where the settings with it cannot be used.

    Raises:
        InvalidRequest: there is a provider of that name.
        ConfigurationError: the result would be wrong; nothing was written.
    """
    known = load(config)
    if addition.name in known.file.providers:
        raise InvalidRequest(
            f"provider {addition.name!r} is there already; edit the settings", "name"
        )
    path = config_path(config)
    said = dict(addition.said)
    stored: Path | None = None
    if addition.secret is not None:
        name = f"{_FILE_NAME.sub('-', addition.name)}.client-secret"
        stored = path.resolve().parent / name
        said["client_secret_file"] = name
    text = path.read_text(encoding="utf-8")
    text = text.rstrip("\n") + "\n\n" + _table(addition.name, said)
    settings = parse(text, path.resolve().parent, process_environment(), str(path))
    if addition.name not in settings.file.providers:  # pragma: no cover - written so
        raise ConfigurationError("the provider's name cannot be written", "name")
    if stored is not None:
        write_private(stored, f"{addition.secret}\n")
    try:
        await check(settings, addition.name)
        replace(path, text)
    except BaseException:
        if stored is not None:
            stored.unlink()
        raise
    addition.said.update(said)
    return path


def _table(name: str, said: Mapping[str, object]) -> str:
    lines = [f"[providers.{_key(name)}]"]
    lines += [f"{key} = {_value(value)}" for key, value in said.items()]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: object) -> str:
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value).items()
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in pairs) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(v) for v in cast("list[object]", value)) + "]"
    return str(value) if isinstance(value, int) else _text(str(value))


def _text(value: str) -> str:
    """Return a TOML basic string; JSON's differ from it in one character only."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("an option is not UTF-8", "settings") from None
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
