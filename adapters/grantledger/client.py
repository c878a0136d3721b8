"""For services that call a broker; see `grantledger.adapters.client`."""

from __future__ import annotations

from grantledger.adapters.client.broker import (
    BrokerAuth,
    BrokerClient,
    BrokerError,
    Token,
    Wish,
)
from grantledger.adapters.client.grant_auth import GrantAuth

__all__ = ["BrokerAuth", "BrokerClient", "BrokerError", "GrantAuth", "Token", "Wish"]
