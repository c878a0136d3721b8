"""Puts a broker together from settings; the only package that knows all others."""

from __future__ import annotations

from grantledger.adapters.bootstrap.opened import OpenBroker, open_broker
from grantledger.adapters.bootstrap.worker import Round

__all__ = ["OpenBroker", "Round", "open_broker"]
