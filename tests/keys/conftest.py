"""A ring of its own for every test, and the canary that must never show."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from uuid import UUID

import pytest

from grantledger.adapters.keys.envelope import DataKey
from grantledger.adapters.keys.ring import KeyRing

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
GRANT = UUID("6f0d7c8e-6f5c-4c43-9d39-0d3a1e6c1a01")
EVENT = UUID("0b54d1a5-1f7e-4a3c-8a5e-2f7f3b9c2b02")
OTHER = UUID("c1a2b3c4-d5e6-4f70-8123-456789abcdef")
DEK = bytes(range(32))
NONCE = bytes(range(100, 112))


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing.generate(os.urandom, NOW)


@pytest.fixture
def data_key() -> DataKey:
    return DataKey("d-1", GRANT, DEK)
