"""Which cases run over both stores, and what they have in common."""

from __future__ import annotations

import pytest

both_stores = pytest.mark.parametrize("kind", ["sqlite", "postgres"], indirect=True)
"""For a promise that the store has to keep as well.

Not for cases that move the time: on PostgreSQL it is the server's.
"""
