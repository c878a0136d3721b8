"""The certificates that a server is trusted by, where an operator names them."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from grantledger.domain.errors import ConfigurationError


def trust_of(
    ca_file: str | None, field: str, path_of: Callable[[str, str], Path]
) -> ssl.SSLContext | None:
    """Return what verifies a server's certificate, None for the usual authorities.

    Args:
        ca_file: as the settings say it.
        field: names the setting, for messages.
        path_of: resolves a path of the settings, such as `Settings.path`.

    Raises:
        ConfigurationError: the file cannot be read, or holds no certificate.
    """
    if ca_file is None:
        return None
    path = path_of(ca_file, field)
    try:
        return ssl.create_default_context(cafile=str(path))
    except OSError as cause:
        raise ConfigurationError(
            f"{field}: cannot read certificates from {path}: {cause.strerror}", field
        ) from cause
