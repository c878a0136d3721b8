"""For services that call a broker; see `grantledger.adapters.client`."""

from __future__ import annotations

from grantledger.adapters.client import (
    BrokerAuth,
    BrokerClient,
    BrokerError,
    GrantAuth,
    Token,
    Wish,
)

__all__ = ["BrokerAuth", "BrokerClient", "BrokerError", "GrantAuth", "Token", "Wish"]
