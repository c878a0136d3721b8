"""Runs a command's work over an open broker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import anyio

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.cli import output
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.settings import load
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import NotProvisioned
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey

T = TypeVar("T")


def with_broker(
    config: Path | None,
    work: Callable[[OpenBroker], Awaitable[T]],
    *,
    tend: bool = True,
) -> T:
    """Return what the work over an open broker gives.

    Args:
        config: the settings' file, None for the usual ones.
        work: the command's.
        tend: look after lost leases and obligations meanwhile.

    Raises:
        GrantledgerError: the settings, the ledger or the work.
    """

    async def run() -> T:
        # What nobody asks for is a worker's business, not of a moment's command.
        async with open_broker(load(config), tend=tend, rotate=False) as opened:
            done = await work(opened)
            refusal = opened.ledger.memory.refusal
            if refusal is not None:
                output.note(f"grantledger: {refusal.code}: {refusal}")
            return done

    return anyio.run(run)


async def on_record(
    opened: OpenBroker, use: AuditUse, asked: str, grant_id: UUID
) -> None:
    """Record that a grant's past is read, where the ledger takes records at all.

    A ledger that was restored or moved away takes none, and has to be read by the
    operator all the same, who has its file and its keys; `with_broker` says so.

    Raises:
        Unavailable: it could not be recorded; nothing may be shown.
    """
    if opened.ledger.memory.refusal is None:
        access = opened.broker.audit_access
        await access.record(local_caller(), use, asked, grant_id=grant_id)


async def known_grant(opened: OpenBroker, key: GrantKey) -> UserGrant:
    """Return the grant of this key.

    Raises:
        InvalidRequest: unknown provider, or a field out of bounds.
        NotProvisioned: there is no such grant.
    """
    grant = await opened.broker.status(key)
    if grant is None:
        raise NotProvisioned(
            f"no consent is stored at {key.provider} for this subject and "
            f"label {key.label!r}"
        )
    return grant
