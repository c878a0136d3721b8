from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.http.scene import Service, service


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Service]:
    async with service(tmp_path) as made:
        yield made
