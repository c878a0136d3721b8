"""What an application of nextcloud-mcp-server's token broker imports instead.

from grantledger.nextcloud import RefreshTokenStorage, TokenBrokerService
"""

from __future__ import annotations

from grantledger.adapters.nextcloud.service import TokenBrokerService
from grantledger.adapters.nextcloud.storage import LedgerTokenStorage

RefreshTokenStorage = LedgerTokenStorage
"""The earlier name, so that the import is the one line that changes."""

__all__ = ["LedgerTokenStorage", "RefreshTokenStorage", "TokenBrokerService"]
