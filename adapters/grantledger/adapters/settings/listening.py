"""Addresses to listen on, as settings say them."""

from __future__ import annotations

import re

from grantledger.domain.errors import ConfigurationError

_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_PORTS = 65_536


def address(listen: str, field: str = "http.listen") -> tuple[str, int]:
    """Return host and port of `host:port`; port 0 is any free one.

    Raises:
        ConfigurationError: it is no such text.
    """
    found = _LISTEN.fullmatch(listen)
    if found is None or int(found[2]) >= _PORTS:
        raise ConfigurationError(f"{field}: host:port, such as 127.0.0.1:8080", field)
    return found[1].strip("[]"), int(found[2])
