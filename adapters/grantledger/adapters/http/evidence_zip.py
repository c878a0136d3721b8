"""An evidence bundle as an answer: made on disk, sent as a zip, then gone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.bootstrap.bundle import pack
from grantledger.adapters.bootstrap.evidence import make_evidence
from grantledger.domain.evidence import EvidenceAsked, EvidenceLimits
from grantledger.domain.grant_state import GrantState
from grantledger.domain.requests import Caller

ZIP = "application/zip"
LIMITS = EvidenceLimits(chosen=1_000, ranged=5_000)
"""Less than the command line's: somebody waits for the answer."""


async def evidence_zip(
    opened: OpenBroker,
    caller: Caller,
    asked: EvidenceAsked,
    may: Callable[[GrantState], bool],
) -> FileResponse:
    """Return the bundle that was asked for; that it may be is checked before.

    Args:
        opened: whose ledger is asked.
        caller: who asks.
        asked: what for.
        may: whether the caller may see a grant.

    Raises:
        ConfigurationError, InvalidRequest, NotProvisioned, IntegrityError, Unavailable:
            see `make_evidence`.
    """
    kept = await anyio.to_thread.run_sync(_Kept)
    try:
        made = await make_evidence(opened, caller, asked, kept.bundle, may, LIMITS)
        created_at = made.manifest.created_at
        await anyio.to_thread.run_sync(pack, kept.bundle, kept.packed, created_at)
    except BaseException:
        kept.cleanup()
        raise
    return FileResponse(
        kept.packed,
        media_type=ZIP,
        filename=f"evidence-{created_at:%Y%m%dT%H%M%SZ}.zip",
        headers={"Cache-Control": "no-store"},
        background=BackgroundTask(kept.cleanup),
    )


class _Kept(tempfile.TemporaryDirectory[str]):
    """Where a bundle is made, for its owner alone, until the answer was sent."""

    def __init__(self) -> None:
        super().__init__(prefix="grantledger-evidence-")
        self.bundle = Path(self.name, "bundle")
        self.bundle.mkdir(mode=0o700)
        self.packed = Path(self.name, "evidence.zip")
